//! Transports that write a JSON object a line: to stdout, or to a file.

use crate::failure::Failure;
use crate::time;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outbox_core::{Event, Headers, PublishError, PublishErrorKind, Transport};
use serde::Serialize;
use serde_json::value::RawValue;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// An event as a line. The payload stands as JSON if it is JSON, else in base64.
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

/// How each line begins, and how a line that a killed relay left unfinished is recognised.
const BEGINNING: &[u8] = br#"{"id":""#;

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

/// Writes on a thread that may block, so that the worker's publish timeout holds. A write that is
/// given up goes on; the next one waits behind it, so the order holds and an event comes twice.
async fn blocking(
    bytes: io::Result<Vec<u8>>,
    write: impl FnOnce(Vec<u8>) -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    let bytes = bytes?;
    tokio::task::spawn_blocking(move || write(bytes)).await?
}

/// All events share the fate of the one write.
fn answers(events: &[Event], result: io::Result<()>) -> Vec<Result<(), PublishError>> {
    let text = result.err().map(|error| error.to_string());
    let answer = |_| match &text {
        None => Ok(()),
        Some(text) => {
            Err(PublishError::new(PublishErrorKind::Unavailable).with_source(text.clone()))
        }
    };
    events.iter().map(answer).collect()
}

/// Lines to a pipe. It has taken responsibility when the bytes are in it.
#[derive(Debug)]
pub(crate) struct NdjsonPipe {
    closed: Arc<Notify>,
}

impl NdjsonPipe {
    pub(crate) fn stdout() -> Self {
        Self {
            closed: Arc::default(),
        }
    }

    /// Notified when the reader has gone.
    pub(crate) fn closed(&self) -> Arc<Notify> {
        Arc::clone(&self.closed)
    }
}

#[async_trait]
impl Transport for NdjsonPipe {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let result = blocking(lines(events), |bytes| {
            let mut out = io::stdout().lock();
            out.write_all(&bytes)?;
            out.flush()
        });
        let result = result.await;
        if result
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        {
            self.closed.notify_one();
        }
        answers(events, result)
    }
}

/// Lines to the end of a file, on disk before they are answered.
#[derive(Debug)]
pub(crate) struct NdjsonFile {
    file: Arc<Mutex<File>>,
}

impl NdjsonFile {
    /// Opens the file for this process alone; creates it if it is missing. A last line that a
    /// killed relay left unfinished was never answered, so it is cut and will be written again.
    pub(crate) fn open(path: &str) -> Result<Self, Failure> {
        let refuse = |why: &dyn std::fmt::Display| {
            Failure::Input(format!("cannot write to the file {path:?}: {why}"))
        };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(|error| refuse(&error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(refuse(&"another relay is writing to it")),
            Err(TryLockError::Error(error)) => return Err(refuse(&error)),
        }
        let (whole, torn) = torn_line(&mut file)?;
        if !torn.is_empty() {
            if !(torn.starts_with(BEGINNING) || BEGINNING.starts_with(&torn)) {
                let why = "its last line has no end and is not of a relay; is it the right file?";
                return Err(refuse(&why));
            }
            file.set_len(whole)?;
        }
        Ok(Self {
            file: Arc::new(Mutex::new(file)),
        })
    }
}

/// Where the last whole line ends, and what stands behind it.
fn torn_line(file: &mut File) -> io::Result<(u64, Vec<u8>)> {
    const BLOCK: u64 = 8192;
    let length = file.seek(SeekFrom::End(0))?;
    let mut start = length;
    let mut tail = Vec::new();
    while start > 0 && !tail.contains(&b'\n') {
        let size = start.min(BLOCK);
        start -= size;
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        Read::by_ref(file).take(size).read_to_end(&mut block)?;
        block.append(&mut tail);
        tail = block;
    }
    let end = tail
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |last| last + 1);
    Ok((start + end as u64, tail.split_off(end)))
}

#[async_trait]
impl Transport for NdjsonFile {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let file = Arc::clone(&self.file);
        let result = blocking(lines(events), move |bytes| {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let before = file.seek(SeekFrom::End(0))?;
            let written = file.write_all(&bytes).and_then(|()| file.sync_data());
            if written.is_err() {
                // Half a batch must not stay: it is not answered, and a torn line would follow.
                file.set_len(before)?;
            }
            written
        });
        let result = result.await;
        answers(events, result)
    }
}

#[cfg(test)]
#[path = "ndjson_tests.rs"]
mod tests;
