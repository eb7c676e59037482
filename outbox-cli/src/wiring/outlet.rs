//! Where events go.

use super::brokers;
use super::pools::Pools;
use super::progress::Progress;
use super::role::{DESTINATION, EXPORT};
use crate::failure::Failure;
use crate::ndjson::{LineFile, LineStream, Ndjson, Reopen, Sink};
use async_trait::async_trait;
use outbox_core::{Event, PublishError, Transport, TransportCheck};
use std::borrow::Cow;
use std::fs;
use std::io::{self, ErrorKind, IsTerminal};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;

/// Where lines go.
pub(crate) enum Destination<'a> {
    Stdout,
    File(&'a str),
}

/// Reads `stdout://` or `file:PATH`, for dead letters.
pub(crate) fn destination(url: &str) -> Result<Destination<'_>, Failure> {
    of_lines(url).ok_or_else(|| EXPORT.unknown(url))
}

pub(super) fn of_lines(url: &str) -> Option<Destination<'_>> {
    if url == "stdout://" || url == "stdout:" {
        return Some(Destination::Stdout);
    }
    url.strip_prefix("file://")
        .or_else(|| url.strip_prefix("file:"))
        .filter(|path| !path.is_empty())
        .map(Destination::File)
}

/// The names of stdout as a file. Opening them again fails if stdout is a socket, and
/// blocks forever if it is a pipe whose reader has closed it.
const STDOUT: &[&str] = &["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

/// A transport, and what the relay asks about its other end.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    transport: Arc<dyn Transport>,
    /// None: a broker, which has no file to open again.
    lines: Option<Arc<dyn Reopen>>,
    closed: Arc<Notify>,
    progress: Arc<Progress>,
    is_terminal: bool,
    shown: String,
    place: String,
}

impl Outlet {
    fn new<S: Sink>(sink: S, shown: String) -> Self {
        Self::of(Arc::new(Ndjson::new(sink)), shown)
    }

    fn of<S: Sink>(lines: Arc<Ndjson<S>>, shown: String) -> Self {
        Self {
            closed: lines.closed(),
            transport: Arc::clone(&lines) as Arc<dyn Transport>,
            lines: Some(lines),
            progress: Arc::default(),
            is_terminal: false,
            place: shown.clone(),
            shown,
        }
    }

    /// All stores of the process share it, so that each line is whole.
    fn stdout() -> Self {
        static LINES: OnceLock<Arc<Ndjson<LineStream>>> = OnceLock::new();
        let lines = LINES.get_or_init(|| Arc::new(Ndjson::new(LineStream::stdout())));
        Self {
            is_terminal: io::stdout().is_terminal(),
            ..Self::of(Arc::clone(lines), "stdout://".to_owned())
        }
    }

    /// A broker, with its URL as it may be shown, and where in it events go.
    pub(super) fn broker(transport: Arc<dyn Transport>, shown: String, place: String) -> Self {
        Self {
            transport,
            lines: None,
            closed: Arc::default(),
            progress: Arc::default(),
            is_terminal: false,
            shown,
            place,
        }
    }

    /// Returns when its other end is closed. A broker may always come back.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Looks for another file under its name. A broker has none.
    pub(crate) async fn reopen(&self) -> io::Result<()> {
        if let Some(lines) = &self.lines {
            return lines.reopen().await;
        }
        tracing::info!("SIGHUP is ignored: a broker has no file to open again");
        Ok(())
    }

    /// Whether a hangup means that the reader is gone.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The URL without its login.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// The same with what says where in the broker an event goes. It is equal for two relays that publish to
    /// the same place in the same words.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }
}

#[async_trait]
impl Transport for Outlet {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        self.progress.begin();
        let answers = self.transport.publish(events).await;
        self.progress.end(&answers);
        answers
    }

    fn keeps_order(&self) -> bool {
        self.transport.keeps_order()
    }

    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        self.transport.destination(event)
    }

    fn duplicates(&self) -> u64 {
        self.transport.duplicates()
    }

    async fn check(&self) -> TransportCheck {
        self.transport.check().await
    }
}

/// Makes the transport that a URL names. A broker is not asked yet. `publish_timeout` is that of the
/// relay: a broker's own timeout is shorter, so that the relay learns why nothing was published. `store`
/// is the relay's, which knows the HTTP endpoints that are off, and its connections.
///
/// # Errors
///
/// [`Failure::File`] if a file cannot be written to, else [`Failure::Input`].
pub(crate) fn outlet(
    url: &str,
    publish_timeout: Duration,
    store: Option<(&str, &Pools)>,
) -> Result<Outlet, Failure> {
    match of_lines(url) {
        Some(Destination::Stdout) => Ok(Outlet::stdout()),
        Some(Destination::File(path)) => file(path).map_err(Failure::File),
        None => match brokers::open(url, publish_timeout, store) {
            Some(broker) => broker,
            None => Err(DESTINATION.unknown(url)),
        },
    }
}

/// A regular file is appended to and synced. What is none has neither an end nor a disk.
fn file(path: &str) -> io::Result<Outlet> {
    let refused = |kind: ErrorKind, why: &str| {
        let text = format!("cannot write to the file {path:?}: {why}");
        Err(io::Error::new(kind, text))
    };
    let shown = format!("file:{path}");
    let metadata = match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => metadata,
        _ => return Ok(Outlet::new(LineFile::open(Path::new(path))?, shown)),
    };
    if metadata.is_dir() {
        return refused(ErrorKind::IsADirectory, "it is a directory");
    }
    if STDOUT.contains(&path) {
        return Ok(Outlet::stdout());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if metadata.file_type().is_block_device() {
            return refused(ErrorKind::InvalidData, "it is a block device");
        }
        if metadata.file_type().is_socket() {
            return Ok(Outlet::new(LineStream::socket(path.into()), shown));
        }
    }
    Ok(Outlet::new(LineStream::node(path.into()), shown))
}
