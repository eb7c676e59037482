//! Transports that write a JSON object a line.

mod file;
mod stream;

pub(crate) use file::LineFile;
pub(crate) use stream::LineStream;

use crate::time;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outbox_core::{Event, Headers, PublishError, PublishErrorKind, Transport, TransportCheck};
use serde::Serialize;
use serde_json::value::RawValue;
use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use tokio::sync::{Mutex, Notify};

/// Where lines go. The calls may block.
pub(crate) trait Sink: Debug + Send + 'static {
    /// Takes responsibility for the lines, with one sync if there is a disk, or fails. After a failure
    /// they are written again.
    fn write(&mut self, lines: &[u8]) -> io::Result<()>;

    /// Looks for another file under the name, and whether it can be written.
    fn reopen(&mut self) -> io::Result<()>;
}

/// A transport that writes to a sink.
#[derive(Debug)]
pub(crate) struct Ndjson<S> {
    sink: Arc<Mutex<S>>,
    closed: Arc<Notify>,
}

impl<S: Sink> Ndjson<S> {
    pub(crate) fn new(sink: S) -> Self {
        Self {
            sink: Arc::new(Mutex::new(sink)),
            closed: Arc::default(),
        }
    }

    /// Notified when the reader has closed its end.
    pub(crate) fn closed(&self) -> Arc<Notify> {
        Arc::clone(&self.closed)
    }

    /// Works on the sink in a thread that may block, so that the worker's publish timeout holds.
    ///
    /// A call that was given up in the middle of its write finishes that; the next one waits for it,
    /// so the order holds and an event comes twice. One that was given up earlier does nothing.
    async fn blocking(
        &self,
        work: impl FnOnce(&mut S) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let mut sink = Arc::clone(&self.sink).lock_owned().await;
        tokio::task::spawn_blocking(move || work(&mut sink)).await?
    }
}

#[async_trait]
impl<S: Sink> Transport for Ndjson<S> {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let result = match lines(events) {
            Ok(lines) => self.blocking(move |sink| sink.write(&lines)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &result
            && error.kind() == ErrorKind::BrokenPipe
        {
            self.closed.notify_one();
        }
        answers(events, result)
    }

    /// The events of a call are one write, in their order, and share its fate.
    fn keeps_order(&self) -> bool {
        true
    }

    /// Waits for a write that has begun. A regular file that is missing is created, as by the next write.
    async fn check(&self) -> TransportCheck {
        let check = TransportCheck::default();
        match self.reopen().await {
            Ok(()) => check,
            Err(error) => check.problem(publish_error(error)),
        }
    }
}

/// A transport that can look for another file under its name.
#[async_trait]
pub(crate) trait Reopen: Transport {
    async fn reopen(&self) -> io::Result<()>;
}

#[async_trait]
impl<S: Sink> Reopen for Ndjson<S> {
    async fn reopen(&self) -> io::Result<()> {
        self.blocking(Sink::reopen).await
    }
}

/// An event as a line. The payload is written as JSON if it is JSON, else in base64.
#[derive(Serialize)]
struct Line<'a> {
    id: String,
    #[serde(rename = "type")]
    event_type: &'a str,
    key: Option<&'a str>,
    created_at: String,
    content_type: &'a str,
    headers: &'a Headers,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// The event as the relay writes it, without the line break.
pub(crate) fn event_json(event: &Event) -> io::Result<Box<RawValue>> {
    let mut line = Vec::new();
    write_line(event, &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

/// Writes the event as one line with its line break.
fn write_line(event: &Event, out: &mut Vec<u8>) -> io::Result<()> {
    let text = json_text(event);
    let payload = text
        .as_deref()
        .and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
    let line = Line {
        id: event.id.to_string(),
        event_type: &event.event_type,
        key: event.ordering_key.as_deref(),
        created_at: time::micros(event.created_at),
        content_type: &event.content_type,
        headers: &event.headers,
        payload,
        payload_base64: payload.is_none().then(|| STANDARD.encode(&event.payload)),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.push(b'\n');
    Ok(())
}

/// The payload as text, if it says that it is JSON. Line breaks in JSON can only be white space
/// between its tokens, so blanks in their place keep it the same and on one line.
fn json_text(event: &Event) -> Option<String> {
    let media_type = event
        .content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    if media_type != "application/json" && !media_type.ends_with("+json") {
        return None;
    }
    let text = std::str::from_utf8(&event.payload).ok()?;
    Some(text.replace(['\n', '\r'], " "))
}

fn lines(events: &[Event]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for event in events {
        write_line(event, &mut out)?;
    }
    Ok(out)
}

/// All events share the fate of the one write.
fn answers(events: &[Event], result: io::Result<()>) -> Vec<Result<(), PublishError>> {
    match result {
        Ok(()) => events.iter().map(|_| Ok(())).collect(),
        Err(error) => publish_error(error).for_all(events.len()),
    }
}

/// A person must repair a path that is wrong. All else may pass by itself, also a full disk.
pub(crate) fn publish_error(error: io::Error) -> PublishError {
    let kind = match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::InvalidData => PublishErrorKind::Misconfigured,
        _ => PublishErrorKind::Unavailable,
    };
    PublishError::new(kind).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts its writes.
    #[derive(Debug)]
    struct Writes(Arc<std::sync::Mutex<Vec<Vec<u8>>>>);

    impl Sink for Writes {
        fn write(&mut self, lines: &[u8]) -> io::Result<()> {
            self.0.lock().unwrap().push(lines.to_owned());
            Ok(())
        }

        fn reopen(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A regular file syncs once in each write.
    #[tokio::test]
    async fn a_call_is_one_write_and_so_one_sync() {
        let writes = Arc::default();
        let transport = Ndjson::new(Writes(Arc::clone(&writes)));
        for events in [100, 1] {
            let event = |number: usize| Event::new("x", "").ordering_key((number % 3).to_string());
            let events: Vec<Event> = (0..events).map(event).collect();
            transport.publish(&events).await;
            let writes = std::mem::take(&mut *writes.lock().unwrap());
            assert_eq!(writes.len(), 1);
            let lines = std::str::from_utf8(&writes[0]).unwrap().lines();
            assert_eq!(lines.count(), events.len());
        }
    }
}
