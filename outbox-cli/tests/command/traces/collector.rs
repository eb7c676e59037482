//! A collector of OpenTelemetry, and an HTTP endpoint that answers what it is asked to.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How the collector answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mood {
    Takes,
    Refuses,
    /// Never answers.
    Hangs,
}

pub(crate) struct Server {
    pub(crate) port: u16,
    kept: Arc<Mutex<Kept>>,
    /// The server ends when it is dropped.
    _alive: oneshot::Sender<()>,
}

struct Kept {
    mood: Mood,
    requests: Vec<(HeaderMap, ExportTraceServiceRequest)>,
    /// What the endpoint answers; 200 after the last one.
    answers: VecDeque<u16>,
    /// The values of `traceparent` of the requests to the endpoint.
    traceparents: Vec<String>,
}

impl Server {
    pub(crate) fn new(mood: Mood, answers: impl IntoIterator<Item = u16>) -> Self {
        let kept = Arc::new(Mutex::new(Kept {
            mood,
            requests: Vec::new(),
            answers: answers.into_iter().collect(),
            traceparents: Vec::new(),
        }));
        let app = Router::new()
            .route("/v1/traces", post(traces))
            .route("/hook", post(hook))
            .with_state(Arc::clone(&kept));
        let (ready, port) = std::sync::mpsc::channel();
        let (alive, ended) = oneshot::channel::<()>();
        thread::spawn(move || {
            crate::support::blocking(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                ready.send(listener.local_addr().unwrap().port()).unwrap();
                tokio::select! {
                    result = axum::serve(listener, app) => result.unwrap(),
                    _ = ended => {}
                }
            });
        });
        Self {
            port: port.recv().unwrap(),
            kept,
            _alive: alive,
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    pub(crate) fn collector(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/hook#allow=127.0.0.0/8", self.port)
    }

    pub(crate) fn answers(&self, answers: impl IntoIterator<Item = u16>) {
        self.kept().answers = answers.into_iter().collect();
    }

    pub(crate) fn traceparents(&self) -> Vec<String> {
        self.kept().traceparents.clone()
    }

    /// The headers of the requests to the collector.
    pub(crate) fn headers(&self) -> Vec<HeaderMap> {
        let kept = self.kept();
        kept.requests
            .iter()
            .map(|(headers, _)| headers.clone())
            .collect()
    }

    /// The attributes of the exporting service.
    pub(crate) fn resource(&self, key: &str) -> String {
        let kept = self.kept();
        let (_, request) = kept.requests.first().expect("an export");
        let resource = request.resource_spans[0].resource.as_ref().unwrap();
        text(&resource.attributes, key)
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let kept = self.kept();
        let requests = kept.requests.iter();
        let scopes = requests.flat_map(|(_, request)| &request.resource_spans);
        let scopes = scopes.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| &scope.spans).cloned().collect()
    }
}

async fn traces(
    State(kept): State<Arc<Mutex<Kept>>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let mood = kept.lock().unwrap().mood;
    match mood {
        Mood::Takes => {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            kept.lock().unwrap().requests.push((headers, request));
            StatusCode::OK
        }
        Mood::Refuses => StatusCode::BAD_REQUEST,
        Mood::Hangs => std::future::pending().await,
    }
}

async fn hook(State(kept): State<Arc<Mutex<Kept>>>, headers: HeaderMap) -> StatusCode {
    let mut kept = kept.lock().unwrap();
    let traceparent = headers
        .get("traceparent")
        .map(|value| value.to_str().unwrap());
    kept.traceparents.extend(traceparent.map(str::to_owned));
    let status = kept.answers.pop_front().unwrap_or(200);
    StatusCode::from_u16(status).unwrap()
}

/// An attribute as text; empty if there is none.
pub(crate) fn text(attributes: &[KeyValue], key: &str) -> String {
    let mut found = attributes.iter().filter(|one| one.key == key);
    let value = found.next().and_then(|one| one.value.as_ref());
    match value {
        Some(AnyValue {
            value: Some(Value::StringValue(text)),
        }) => text.clone(),
        Some(AnyValue {
            value: Some(Value::IntValue(number)),
        }) => number.to_string(),
        _ => String::new(),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let hex = |text: String, byte: &u8| text + &format!("{byte:02x}");
    bytes.iter().fold(String::new(), hex)
}
