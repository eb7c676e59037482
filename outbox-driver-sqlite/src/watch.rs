//! Whether a path still leads to the file that was opened.
//!
//! SQLite keeps using the file that it opened, also after another file has replaced it at its path. The
//! connection would then use a file that no other program sees.
#![allow(
    clippy::unnecessary_debug_formatting,
    reason = "quotes show both ends of a path"
)]

use crate::error::refusal;
use outbox_core::{ErrorKind, OutboxError};
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

/// The result of a check.
#[derive(Debug)]
pub(crate) enum FileState {
    /// The files are the same.
    Same {
        /// The size of the write-ahead log in bytes.
        log: u64,
    },
    /// The path leads to no file, or to another one.
    Replaced(String),
    /// The write-ahead log or its index is gone, and no program has created another.
    LogRemoved(String),
    /// The write-ahead log or its index is another file.
    LogReplaced(String),
    /// The file system returned an error.
    Unknown(String),
}

/// The files of one database when it was opened. `None` for a database in memory.
#[derive(Debug)]
pub(crate) struct Watch(Option<Files>);

#[derive(Debug)]
struct Files {
    /// The path as it was given. It may contain symbolic links.
    path: PathBuf,
    identity: Identity,
    /// The write-ahead log, then its index. Their identities are known after SQLite has created them.
    logs: [(PathBuf, Option<Identity>); 2],
}

/// Device and inode.
type Identity = (u64, u64);

impl Watch {
    pub(crate) fn nothing() -> Self {
        Self(None)
    }

    /// Remembers the file at `path`. SQLite calls it `real`.
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
        watch.check();
        Ok(watch)
    }

    /// The write-ahead log; none of a database in memory.
    pub(crate) fn log(&self) -> Option<PathBuf> {
        let files = self.0.as_ref();
        files.map(|files| files.logs[0].0.clone())
    }

    /// Makes three calls to the file system.
    pub(crate) fn check(&mut self) -> FileState {
        let Some(files) = &mut self.0 else {
            return FileState::Same { log: 0 };
        };
        let path = &files.path;
        match stat(path) {
            Ok(Some(found)) if identity(&found) == files.identity => files.check_logs(),
            Ok(Some(_)) => FileState::Replaced(format!(
                "{path:?} was replaced by another file while it was open; start again to use that"
            )),
            Ok(None) => FileState::Replaced(format!(
                "{path:?} was removed or renamed while it was open; put it back and start again"
            )),
            Err(error) => FileState::Unknown(format!("{path:?} cannot be reached: {error}")),
        }
    }
}

impl Files {
    fn check_logs(&mut self) -> FileState {
        let mut sizes = [0; 2];
        for ((path, known), size) in self.logs.iter_mut().zip(&mut sizes) {
            let advice = "stop all programs that use the database, then start them again";
            match (stat(path), *known) {
                (Ok(None), None) => {}
                (Ok(None), Some(_)) => {
                    let text =
                        format!("{path:?} was removed while the database was open; {advice}");
                    return FileState::LogRemoved(text);
                }
                (Ok(Some(found)), _) if known.is_none_or(|known| known == identity(&found)) => {
                    *known = Some(identity(&found));
                    *size = found.len();
                }
                (Ok(Some(_)), _) => {
                    let text =
                        format!("{path:?} was replaced while the database was open; {advice}");
                    return FileState::LogReplaced(text);
                }
                (Err(error), _) => {
                    return FileState::Unknown(format!("{path:?} cannot be reached: {error}"));
                }
            }
        }
        FileState::Same { log: sizes[0] }
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

/// On other systems an open file cannot be replaced, so it is enough that it exists.
#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {
    (0, 0)
}
