//! How the command fails: a line for a person and an exit code for a script.

use outbox_core::{ErrorKind, OutboxError};
use outbox_driver_postgres::postgres_error;
use std::io;
use std::process::ExitCode;

/// Why the command ends without success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The caller's mistake: exit code 2.
    #[error("{0}")]
    Input(String),
    /// A file that events cannot be written to: exit code 2.
    #[error("{0}")]
    File(io::Error),
    /// A check that found a problem: exit code 3.
    #[error("{0}")]
    Found(String),
    /// Anything else: exit code 1.
    #[error("{0}")]
    Failed(String),
    /// By its kind: 2 if it is the caller's mistake, else 1.
    #[error("{0}")]
    Outbox(#[from] OutboxError),
    /// A second signal, which waits for nothing: exit code 1.
    #[error("ended by a second signal; what was being published will be published again")]
    Interrupted,
    /// Exit code 1.
    #[error("cannot write to stdout: {0}")]
    Stdout(io::Error),
    /// Exit code 1.
    #[error("{0}")]
    Io(io::Error),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Input(_) | Self::File(_) => 2,
            Self::Outbox(error) if error.kind() == ErrorKind::Invalid => 2,
            Self::Found(_) => 3,
            Self::Outbox(_)
            | Self::Failed(_)
            | Self::Interrupted
            | Self::Stdout(_)
            | Self::Io(_) => 1,
        })
    }

    /// The failures of several stores, if there are any: bad input if all of them are, and a finding if one is.
    pub(crate) fn of_stores(failures: Vec<(Option<String>, Self)>) -> Result<(), Self> {
        let code = |failure: &Self| failure.exit_code();
        let codes: Vec<ExitCode> = failures.iter().map(|(_, failure)| code(failure)).collect();
        let all = |wanted: u8| codes.iter().all(|code| *code == ExitCode::from(wanted));
        let line = |(name, failure): &(Option<String>, Self)| match name {
            Some(name) => format!("{name}: {failure}"),
            None => failure.to_string(),
        };
        match failures.len() {
            0 => Ok(()),
            1 if failures[0].0.is_none() => Err(failures
                .into_iter()
                .next()
                .map_or(Self::Interrupted, |one| one.1)),
            _ => {
                let lines: Vec<String> = failures.iter().map(line).collect();
                let lines = lines.join("\n");
                Err(if all(2) {
                    Self::Input(lines)
                } else if all(3) {
                    Self::Found(lines)
                } else {
                    Self::Failed(lines)
                })
            }
        }
    }

    /// Of the relay, and of everything that writes data.
    pub(crate) fn reader_gone() -> Self {
        Self::Failed("the reader of stdout has gone".to_owned())
    }

    pub(crate) fn of_stdout(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::reader_gone();
        }
        Self::Stdout(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What SQLite says about the demo's own tables.
impl From<outbox_store_sqlite::rusqlite::Error> for Failure {
    fn from(error: outbox_store_sqlite::rusqlite::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What PostgreSQL says about the demo's own tables.
impl From<outbox_driver_postgres::sqlx::Error> for Failure {
    fn from(error: outbox_driver_postgres::sqlx::Error) -> Self {
        postgres_error("demo")(error).into()
    }
}
