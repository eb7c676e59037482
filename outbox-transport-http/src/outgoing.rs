//! Events as requests.

use crate::batch::{self, Batch};
use crate::secret::Secret;
use crate::{Inner, target::Target};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use outbox_core::wire::Binding;
use outbox_core::{Event, EventId, PublishError, PublishErrorKind};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::SystemTime;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Headers of a structured event that its attributes have too.
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

/// How many bytes of a hash the id of a batch has.
const ID_BYTES: usize = 18;

/// What the requests of one endpoint share.
pub(crate) struct Place {
    pub(crate) name: Arc<str>,
    pub(crate) url: Url,
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) secrets: Arc<[Secret]>,
}

/// An event as a message.
#[derive(Debug)]
pub(crate) struct Message {
    /// Its place in the call.
    pub(crate) number: usize,
    id: EventId,
    headers: HeaderMap,
    body: Bytes,
}

/// The events of one request, which has more than one only in a batch.
pub(crate) struct Delivery {
    pub(crate) place: Arc<Place>,
    pub(crate) messages: Vec<Message>,
}

impl Place {
    /// The place of an event at a target. The error names the destination.
    pub(crate) fn new(
        target: &Target,
        secrets: &Arc<[Secret]>,
        name: Arc<str>,
        event: &Event,
    ) -> Result<Self, PublishError> {
        Ok(Self {
            url: target.url(event)?,
            name,
            authorization: authorization(target),
            secrets: Arc::clone(secrets),
        })
    }
}

impl Message {
    /// The error names no destination.
    pub(crate) fn new(inner: &Inner, number: usize, event: &Event) -> Result<Self, PublishError> {
        let written = inner.config.form.write(Binding::Http, event)?;
        let mut headers = HeaderMap::with_capacity(written.headers.len() + 4);
        let content_type = ("content-type".into(), written.content_type);
        for (name, value) in written.headers.into_iter().chain([content_type]) {
            let name: HeaderName = name.parse().map_err(permanent)?;
            let value: HeaderValue = value.parse().map_err(permanent)?;
            headers.insert(name, value);
        }
        Ok(Self {
            number,
            id: event.id,
            headers,
            body: written.body,
        })
    }

    /// Whether a batch, which has no headers for each event, carries all of it.
    fn is_whole_in_batch(&self) -> bool {
        let mut names = self.headers.keys();
        names.all(|name| name == CONTENT_TYPE || TRACE.contains(&name.as_str()))
    }
}

impl Delivery {
    /// Puts messages of one place into as few requests as the batch allows.
    pub(crate) fn of(
        place: &Arc<Place>,
        messages: Vec<Message>,
        batch: Option<Batch>,
    ) -> Vec<Self> {
        let mut deliveries: Vec<Self> = Vec::new();
        let most = batch.map_or(1, Batch::most);
        let (mut open, mut size) = (Vec::new(), 0);
        let mut add = |messages| {
            let place = Arc::clone(place);
            deliveries.push(Self { place, messages });
        };
        for message in messages {
            if most == 1 || !message.is_whole_in_batch() {
                add(vec![message]);
                continue;
            }
            if open.len() == most || size + message.body.len() > batch::LARGEST {
                add(std::mem::take(&mut open));
                size = 0;
            }
            size += message.body.len();
            open.push(message);
        }
        add(open);
        deliveries.retain(|delivery| !delivery.messages.is_empty());
        deliveries
    }

    /// The headers and the body of an attempt at this time, which has these messages.
    pub(crate) fn request(
        &self,
        messages: &[Message],
        batch: Option<Batch>,
        now: SystemTime,
    ) -> (HeaderMap, Bytes) {
        let (id, mut headers, body) = match (messages, batch) {
            ([message], _) if !is_batch(message, batch) => (
                message.id.to_string(),
                message.headers.clone(),
                message.body.clone(),
            ),
            (messages, batch) => batched(messages, batch),
        };
        let timestamp = now.duration_since(SystemTime::UNIX_EPOCH);
        let timestamp = timestamp.unwrap_or_default().as_secs().to_string();
        if !self.place.secrets.is_empty() {
            let sign = |secret: &Secret| secret.sign(&id, &timestamp, &body);
            let signatures: Vec<String> = self.place.secrets.iter().map(sign).collect();
            insert(&mut headers, SIGNATURE, &signatures.join(" "));
        }
        insert(&mut headers, ID, &id);
        insert(&mut headers, TIMESTAMP, &timestamp);
        if let Some(authorization) = &self.place.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        (headers, body)
    }
}

/// An event that a batch carries is sent in one also if it is alone, as the endpoint expects.
fn is_batch(message: &Message, batch: Option<Batch>) -> bool {
    batch.is_some() && message.is_whole_in_batch()
}

fn batched(messages: &[Message], batch: Option<Batch>) -> (String, HeaderMap, Bytes) {
    let mut headers = HeaderMap::with_capacity(5);
    let mut hash = Sha256::new();
    for message in messages {
        hash.update(message.id.as_uuid().as_bytes());
    }
    // The same events have the same id in each attempt.
    let id = format!(
        "batch_{}",
        URL_SAFE_NO_PAD.encode(&hash.finalize()[..ID_BYTES])
    );
    let bodies = messages.iter().map(|message| &message.body);
    let body = batch.map(|batch| {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(batch.content_type()));
        batch.body(bodies)
    });
    (id, headers, body.unwrap_or_default())
}

/// Ids, numbers and signatures are printable ASCII.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The login of a URL as a header.
pub(crate) fn authorization(target: &Target) -> Option<HeaderValue> {
    let login = target.login.as_ref()?;
    let login = STANDARD.encode(format!("{}:{}", login.user, login.password));
    let mut value = HeaderValue::from_str(&format!("Basic {login}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn permanent(source: impl std::error::Error + Send + Sync + 'static) -> PublishError {
    PublishError::new(PublishErrorKind::Permanent).with_source(source)
}
