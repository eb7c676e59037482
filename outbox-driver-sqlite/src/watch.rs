//! Whether a path still leads to the file that was opened.
//!
//! SQLite keeps the file that it opened, whatever happens to its path. After a restored backup took
//! its place, the connection would go on in a file that nobody else sees.
#![allow(
    clippy::unnecessary_debug_formatting,
    reason = "quotes show where a path begins and ends"
)]

use crate::error::refusal;
use outbox_core::{ErrorKind, OutboxError};
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

/// What a look found.
#[derive(Debug)]
pub(crate) enum Sight {
    /// All is as it was; the write-ahead log has so many bytes.
    Same { log: u64 },
    /// The path leads to no file, or to another one.
    Replaced(String),
    /// The write-ahead log or its index is gone. Nobody has made another yet.
    LogRemoved(String),
    /// The write-ahead log or its index is another file.
    LogReplaced(String),
    /// The file system did not answer.
    Unknown(String),
}

/// The files of one database, as they were when it was opened. Nothing, if it is in memory.
#[derive(Debug)]
pub(crate) struct Watch(Option<Files>);

#[derive(Debug)]
struct Files {
    /// As it was given; it may lead through symbolic links.
    path: PathBuf,
    identity: Identity,
    /// The write-ahead log, then its index. Known once SQLite has made them.
    logs: [(PathBuf, Option<Identity>); 2],
}

/// What makes a file this one and no other.
type Identity = (u64, u64);

impl Watch {
    pub(crate) fn nothing() -> Self {
        Self(None)
    }

    /// Remembers the file at `path`, which `SQLite` calls `real`.
    pub(crate) fn new(path: &Path, real: Option<&str>) -> Result<Self, OutboxError> {
        let found = std::fs::metadata(path).map_err(|error| {
            let text = format!("{path:?} cannot be reached: {error}");
            refusal(ErrorKind::Unavailable, "open", text)
        })?;
        let real = real.map_or_else(|| path.to_owned(), PathBuf::from);
        let log = |end: &str| {
            let mut name = real.clone().into_os_string();
            name.push(end);
            (PathBuf::from(name), None)
        };
        let mut watch = Self(Some(Files {
            path: path.to_owned(),
            identity: identity(&found),
            logs: [log("-wal"), log("-shm")],
        }));
        watch.look();
        Ok(watch)
    }

    /// Three calls of the file system.
    pub(crate) fn look(&mut self) -> Sight {
        let Some(files) = &mut self.0 else {
            return Sight::Same { log: 0 };
        };
        let path = &files.path;
        match stat(path) {
            Ok(Some(found)) if identity(&found) == files.identity => files.look_at_logs(),
            Ok(Some(_)) => Sight::Replaced(format!(
                "{path:?} was replaced by another file while it was open; start again to use that"
            )),
            Ok(None) => Sight::Replaced(format!(
                "{path:?} was removed or renamed while it was open; put it back and start again"
            )),
            Err(error) => Sight::Unknown(format!("{path:?} cannot be reached: {error}")),
        }
    }
}

impl Files {
    fn look_at_logs(&mut self) -> Sight {
        let mut sizes = [0; 2];
        for ((path, known), size) in self.logs.iter_mut().zip(&mut sizes) {
            let advice = "stop all programs that use the database, then start them again";
            match (stat(path), *known) {
                (Ok(None), None) => {}
                (Ok(None), Some(_)) => {
                    let text =
                        format!("{path:?} was removed while the database was open; {advice}");
                    return Sight::LogRemoved(text);
                }
                (Ok(Some(found)), _) if known.is_none_or(|known| known == identity(&found)) => {
                    *known = Some(identity(&found));
                    *size = found.len();
                }
                (Ok(Some(_)), _) => {
                    let text =
                        format!("{path:?} was replaced while the database was open; {advice}");
                    return Sight::LogReplaced(text);
                }
                (Err(error), _) => {
                    return Sight::Unknown(format!("{path:?} cannot be reached: {error}"));
                }
            }
        }
        Sight::Same { log: sizes[0] }
    }
}

fn stat(path: &Path) -> io::Result<Option<Metadata>> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn identity(found: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (found.dev(), found.ino())
}

/// Elsewhere an open file cannot be replaced; that it is there is enough.
#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {
    (0, 0)
}
