//! Where events go.

use crate::failure::Failure;
use crate::ndjson::{NdjsonFile, NdjsonPipe};
use outbox_core::Transport;
use std::sync::Arc;

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

/// A transport, and a way to learn that its other end is gone for good.
pub(crate) struct Outlet {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) closed: Arc<tokio::sync::Notify>,
}

/// Makes the transport that a URL names.
pub(crate) fn outlet(url: &str) -> Result<Outlet, Failure> {
    match destination(url)? {
        Destination::Stdout => {
            let pipe = NdjsonPipe::stdout();
            let closed = pipe.closed();
            Ok(Outlet {
                transport: Arc::new(pipe),
                closed,
            })
        }
        Destination::File(path) => Ok(Outlet {
            transport: Arc::new(NdjsonFile::open(path)?),
            closed: Arc::default(),
        }),
    }
}
