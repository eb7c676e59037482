//! A request to its events.

use crate::BACKEND;
use crate::batch;
use bytes::Bytes;
use outbox_core::wire::{self, Binding};
use outbox_core::{Event, OutboxError};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::value::RawValue;

/// Reads the event of a request, in whichever form it was published. Check its signature before.
///
/// ```
/// # use outbox_core::{EventId, OutboxError};
/// # use outbox_transport_http::reqwest::header::HeaderMap;
/// fn id(headers: &HeaderMap, body: Vec<u8>) -> Result<EventId, OutboxError> {
///     Ok(outbox_transport_http::read(headers, body)?.id)
/// }
/// ```
///
/// # Errors
///
/// Those of [`wire::read`].
pub fn read(headers: &HeaderMap, body: impl Into<Bytes>) -> Result<Event, OutboxError> {
    let headers = headers.iter();
    // What is not text comes from a server on the way.
    let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    wire::read(Binding::Http, None, headers, body.into())
}

/// Reads the events of a request to an endpoint that takes [batches](crate::HttpConfig::batch). The request
/// may also have a single event.
///
/// # Errors
///
/// Those of [`wire::read`], and [`Invalid`](outbox_core::ErrorKind::Invalid) if the body is not a batch.
pub fn read_batch(headers: &HeaderMap, body: impl Into<Bytes>) -> Result<Vec<Event>, OutboxError> {
    let body = body.into();
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|text| text.split(';').next());
    let event = |object: &[u8]| {
        let object = body.slice_ref(object);
        wire::read(
            Binding::Http,
            Some("application/cloudevents+json"),
            [],
            object,
        )
    };
    match media_type.unwrap_or_default().trim() {
        batch::CLOUDEVENTS => {
            let objects: Vec<&RawValue> = serde_json::from_slice(&body).map_err(no_batch)?;
            let objects = objects.into_iter();
            objects
                .map(|object| event(object.get().as_bytes()))
                .collect()
        }
        batch::NDJSON => {
            let lines = body.split(|byte| *byte == b'\n');
            let lines = lines.filter(|line| !line.trim_ascii().is_empty());
            lines.map(event).collect()
        }
        _ => Ok(vec![read(headers, body.clone())?]),
    }
}

fn no_batch(error: serde_json::Error) -> OutboxError {
    let problem = "body is not a JSON array, but must be one";
    OutboxError::invalid(BACKEND, "read", problem).with_source(error)
}
