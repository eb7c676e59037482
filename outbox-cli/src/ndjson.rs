//! Events as NDJSON, to the standard output or to a file.

use crate::exit::{Outcome, bad_input};
use async_trait::async_trait;
use outbox_core::{Event, PublishError, PublishErrorKind, Transport};
use serde::Serialize;
use serde_json::value::RawValue;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// How each of our lines begins; a torn last line is cut only if it begins so.
const LINE_START: &[u8] = b"{\"id\":\"";

#[derive(Debug)]
enum Sink {
    Stdout,
    File(File),
}

/// Writes one line an event. `closed` is told when the reader of the pipe has gone.
#[derive(Debug)]
pub(crate) struct NdjsonTransport {
    sink: Arc<Mutex<Sink>>,
    closed: Arc<Notify>,
}

impl NdjsonTransport {
    /// To `stdout://` or `file:PATH`.
    pub(crate) fn open(url: &str, closed: Arc<Notify>) -> Outcome<Self> {
        let sink = if url == "stdout://" {
            Sink::Stdout
        } else if let Some(path) = url.strip_prefix("file:").filter(|path| !path.is_empty()) {
            let path = path.strip_prefix("//").unwrap_or(path);
            let file = open_file(Path::new(path));
            Sink::File(file.map_err(|error| bad_input(format!("cannot write to {path}: {error}")))?)
        } else {
            return Err(bad_input(format!(
                "--to {url:?} is not allowed: stdout:// or file:PATH"
            )));
        };
        Ok(Self {
            sink: Arc::new(Mutex::new(sink)),
            closed,
        })
    }
}

#[async_trait]
impl Transport for NdjsonTransport {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let mut bytes = Vec::new();
        for event in events {
            if let Err(error) = write_line(&mut bytes, event) {
                return refuse(events.len(), &io::Error::other(error));
            }
        }
        let sink = Arc::clone(&self.sink);
        let written = tokio::task::spawn_blocking(move || {
            sink.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write(&bytes)
        })
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
        match written {
            Ok(()) => events.iter().map(|_| Ok(())).collect(),
            Err(error) => {
                if error.kind() == io::ErrorKind::BrokenPipe {
                    self.closed.notify_one();
                }
                refuse(events.len(), &error)
            }
        }
    }
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Self::File(file) => {
                // A half-written line after a full disk must not swallow the next one.
                let end = file.seek(SeekFrom::End(0))?;
                let written = file.write_all(bytes).and_then(|()| file.sync_data());
                if written.is_err() {
                    file.set_len(end)?;
                }
                written
            }
        }
    }
}

fn refuse(events: usize, error: &io::Error) -> Vec<Result<(), PublishError>> {
    let refusal =
        || Err(PublishError::new(PublishErrorKind::Unavailable).with_source(error.to_string()));
    (0..events).map(|_| refusal()).collect()
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)?;
    file.try_lock()
        .map_err(|_| io::Error::other("another relay writes to it"))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let end = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let tail = &text[end..];
    if tail.is_empty() {
        return Ok(file);
    }
    let shared = tail.len().min(LINE_START.len());
    if tail[..shared] != LINE_START[..shared] {
        return Err(io::Error::other(
            "its last line has no end and is not an event's, so it is left alone",
        ));
    }
    file.set_len(end as u64)?;
    Ok(file)
}

#[derive(Serialize)]
struct Line<'a> {
    id: String,
    #[serde(rename = "type")]
    event_type: &'a str,
    key: Option<&'a str>,
    created_at: String,
    content_type: &'a str,
    headers: &'a outbox_core::Headers,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// Appends the event as one line.
pub(crate) fn write_line(out: &mut Vec<u8>, event: &Event) -> serde_json::Result<()> {
    let payload = json_payload(event);
    let payload_base64 = payload.is_none().then(|| base64(&event.payload));
    let line = Line {
        id: event.id.to_string(),
        event_type: &event.event_type,
        key: event.ordering_key.as_deref(),
        created_at: humantime::format_rfc3339_micros(event.created_at).to_string(),
        content_type: &event.content_type,
        headers: &event.headers,
        payload,
        payload_base64,
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.push(b'\n');
    Ok(())
}

fn json_payload(event: &Event) -> Option<Box<RawValue>> {
    let media = event
        .content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    if media != "application/json" && !media.ends_with("+json") {
        return None;
    }
    // In valid JSON a raw line break is only white space.
    let text = std::str::from_utf8(&event.payload).ok()?;
    RawValue::from_string(text.replace(['\n', '\r'], " ")).ok()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            if digit <= chunk.len() {
                let index = bits >> (18 - 6 * digit) & 63;
                text.push(char::from(DIGITS[index as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}
