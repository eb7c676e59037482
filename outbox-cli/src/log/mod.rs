//! Lines on stderr, for a person.
//!
//! A separate thread writes them. A full disk, a pipe whose reader is gone and a reader that does
//! not read cost lines, and never end or stop the work of the command.

mod form;

pub(crate) use form::JsonForm;

use crate::settings::LogFormat;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that wait for a slow reader; the next ones are dropped.
const LINES: usize = 1024;

/// How long [`wait_until_written`] waits for a reader that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two tries while the queue is full.
const PAUSE: Duration = Duration::from_millis(10);

enum Entry {
    Bytes(Vec<u8>),
    /// Answered when all that came before is written.
    Done(SyncSender<()>),
}

/// The form of [`note`] and [`failure`]: text until it is set.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

pub(crate) fn set_format(format: LogFormat) {
    // Only the first call has an effect.
    let _ = FORMAT.set(format);
}

/// Writes a line.
pub(crate) fn note(line: impl Display) {
    plain(tracing::Level::INFO, line);
}

/// Writes why the command failed.
pub(crate) fn failure(line: impl Display) {
    plain(tracing::Level::ERROR, format_args!("outbox: {line}"));
}

fn plain(level: tracing::Level, line: impl Display) {
    let line = match FORMAT.get() {
        Some(LogFormat::Json) => form::plain(level, &line.to_string()),
        Some(LogFormat::Text) | None => line.to_string(),
    };
    write(format!("{line}\n").into_bytes());
}

/// Waits until all lines so far are written, but not for long.
pub(crate) fn wait_until_written() {
    let deadline = Instant::now() + PATIENCE;
    let (done, written) = sync_channel(1);
    while queue().try_send(Entry::Done(done.clone())).is_err() {
        if Instant::now() > deadline {
            return;
        }
        thread::sleep(PAUSE);
    }
    // An error means that the time is over.
    let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
}

/// Where `tracing` writes. It passes each event at once.
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(bytes: Vec<u8>) {
    // An error means that the queue is full.
    let _ = queue().try_send(Entry::Bytes(bytes));
}

fn queue() -> &'static SyncSender<Entry> {
    static QUEUE: OnceLock<SyncSender<Entry>> = OnceLock::new();
    QUEUE.get_or_init(|| {
        let (sender, receiver) = sync_channel(LINES);
        // Without a thread all lines are dropped.
        let _ = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&receiver));
        sender
    })
}

fn write_all(entries: &Receiver<Entry>) {
    while let Ok(entry) = entries.recv() {
        match entry {
            Entry::Bytes(bytes) => {
                let _ = io::stderr().write_all(&bytes);
            }
            Entry::Done(done) => {
                let _ = done.try_send(());
            }
        }
    }
}
