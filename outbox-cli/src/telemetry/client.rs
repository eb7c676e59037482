//! The client that sends spans to the collector.

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use outbox_core::ErrorText;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// The longest answer that is read. A collector answers with a few bytes.
const LONGEST: usize = 64 * 1024;

/// Sends requests in the runtime of the command: the thread of the exporter has none.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    runtime: Handle,
    cause: Cause,
}

/// Why the latest request failed. The exporter itself says only that it did.
#[derive(Clone, Debug, Default)]
pub(super) struct Cause(Arc<Mutex<Option<ErrorText>>>);

impl Client {
    pub(super) fn new(timeout: Duration, runtime: &Handle) -> reqwest::Result<Self> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // An error means that another thread was first.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        // A redirect could carry the headers, which have a key, to another host.
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(timeout)
            .build()?;
        Ok(Self {
            http,
            runtime: runtime.clone(),
            cause: Cause::default(),
        })
    }

    pub(super) fn cause(&self) -> Cause {
        self.cause.clone()
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let sent = self
            .runtime
            .spawn(async move { send(&http, request).await });
        let answer = sent.await?;
        self.cause.set(
            answer
                .as_ref()
                .err()
                .map(|error| ErrorText::from_error(error)),
        );
        Ok(answer?)
    }
}

async fn send(http: &reqwest::Client, request: Request<Bytes>) -> reqwest::Result<Response<Bytes>> {
    // A URL may have a password.
    let request = request.try_into().map_err(reqwest::Error::without_url)?;
    let answer = http.execute(request).await;
    let mut answer = answer.map_err(reqwest::Error::without_url)?;
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        body.extend_from_slice(&part);
        if body.len() > LONGEST {
            break;
        }
    }
    let mut response = Response::new(body.into());
    *response.status_mut() = answer.status();
    response.headers_mut().clone_from(answer.headers());
    Ok(response)
}

impl Cause {
    fn set(&self, cause: Option<ErrorText>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }

    pub(super) fn take(&self) -> Option<ErrorText> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
