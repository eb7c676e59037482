//! Where events go.

use super::progress::Progress;
use crate::failure::Failure;
use crate::ndjson::{LineFile, LineStream, Ndjson, Reopen, Sink};
use async_trait::async_trait;
use outbox_core::{Event, PublishError, Transport, TransportCheck};
use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Notify;

/// Where lines go.
pub(crate) enum Destination<'a> {
    Stdout,
    File(&'a str),
}

/// Reads `stdout://` or `file:PATH`.
pub(crate) fn destination(url: &str) -> Result<Destination<'_>, Failure> {
    if url == "stdout://" || url == "stdout:" {
        return Ok(Destination::Stdout);
    }
    url.strip_prefix("file://")
        .or_else(|| url.strip_prefix("file:"))
        .filter(|path| !path.is_empty())
        .map(Destination::File)
        .ok_or_else(|| {
            Failure::Input(format!(
                "destination {url:?} is not known; allowed: stdout://, file:PATH"
            ))
        })
}

/// The names of stdout as a file. Opening them again fails if stdout is a socket, and
/// blocks forever if it is a pipe whose reader has closed it.
const STDOUT: &[&str] = &["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// A transport, and what the relay asks about its other end.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    lines: Arc<dyn Reopen>,
    closed: Arc<Notify>,
    progress: Arc<Progress>,
    is_terminal: bool,
}

impl Outlet {
    fn new<S: Sink>(sink: S) -> Self {
        let lines = Ndjson::new(sink);
        Self {
            closed: lines.closed(),
            lines: Arc::new(lines),
            progress: Arc::default(),
            is_terminal: false,
        }
    }

    fn stdout() -> Self {
        Self {
            is_terminal: io::stdout().is_terminal(),
            ..Self::new(LineStream::stdout())
        }
    }

    /// Returns when its other end is closed.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Looks for another file under its name.
    pub(crate) async fn reopen(&self) -> io::Result<()> {
        self.lines.reopen().await
    }

    /// Whether a hangup means that the reader is gone.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }
}

#[async_trait]
impl Transport for Outlet {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        self.progress.begin();
        let answers = self.lines.publish(events).await;
        self.progress.end(&answers);
        answers
    }

    fn keeps_order(&self) -> bool {
        self.lines.keeps_order()
    }

    async fn check(&self) -> TransportCheck {
        self.lines.check().await
    }
}

/// Makes the transport that a URL names.
pub(crate) fn outlet(url: &str) -> Result<Outlet, Failure> {
    match destination(url)? {
        Destination::Stdout => Ok(Outlet::stdout()),
        Destination::File(path) => file(path),
    }
}

/// A regular file is appended to and synced. What is none has neither an end nor a disk.
fn file(path: &str) -> Result<Outlet, Failure> {
    let refused = |why: &str| Failure::Input(format!("cannot write to the file {path:?}: {why}"));
    let Ok(metadata) = fs::metadata(path) else {
        return LineFile::open(Path::new(path)).map(Outlet::new);
    };
    if metadata.is_file() {
        return LineFile::open(Path::new(path)).map(Outlet::new);
    }
    if metadata.is_dir() {
        return Err(refused("it is a directory"));
    }
    if STDOUT.contains(&path) {
        return Ok(Outlet::stdout());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if metadata.file_type().is_block_device() {
            return Err(refused("it is a block device"));
        }
        if metadata.file_type().is_socket() {
            return Ok(Outlet::new(LineStream::socket(path.into())));
        }
    }
    Ok(Outlet::new(LineStream::node(path.into())))
}
