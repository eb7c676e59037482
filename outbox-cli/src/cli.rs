//! The arguments.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Relays a transactional outbox and looks after its dead letters.
#[derive(Debug, Parser)]
#[command(
    name = "outbox",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 bad input (nothing was done)."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a shop with an outbox in a `SQLite` file and check every event. Needs nothing.
    Demo(Demo),
    /// Publish the events of a store.
    Relay(Relay),
    /// Make or upgrade the tables.
    Migrate(Migrate),
    /// Show what waits.
    Status(StoreJson),
    /// Look after the dead letters.
    Dlq {
        #[command(subcommand)]
        command: Dlq,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// The folder of shop.db, made afresh each time.
    #[arg(long, default_value = "outbox-demo")]
    pub(crate) dir: PathBuf,
    /// Orders, one JSON object a line. Default: 412 orders that come with the command.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Store {
    /// The database, such as sqlite:shop.db. Default: `DATABASE_URL`.
    #[arg(long, env = "OUTBOX_STORE")]
    pub(crate) store: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct StoreJson {
    #[command(flatten)]
    pub(crate) store: Store,
    /// One JSON object instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Migrate {
    /// What to do.
    #[arg(value_enum, default_value = "up")]
    pub(crate) action: MigrateAction,
    #[command(flatten)]
    pub(crate) options: StoreJson,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum MigrateAction {
    /// Make the file and its tables, or upgrade them.
    Up,
    /// Exit 0 if the tables are there and current.
    Check,
    /// Print the SQL.
    Print,
}

/// A flag goes before its environment variable, that before the file, that before the default.
#[derive(Args, Debug)]
pub(crate) struct Relay {
    #[command(flatten)]
    pub(crate) store: Store,
    /// Where to: stdout:// or file:PATH.
    #[arg(long, env = "OUTBOX_TO")]
    pub(crate) to: Option<String>,
    /// The heap's database. Default: that of the store.
    #[arg(long, env = "OUTBOX_HEAP")]
    pub(crate) heap: Option<String>,
    /// A TOML file with these options (`store`, `to`, `lease`, …).
    #[arg(long, env = "OUTBOX_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// How long a claim is held, such as 30s. Longer than the publish timeout.
    #[arg(long, env = "OUTBOX_LEASE")]
    pub(crate) lease: Option<String>,
    /// How long one publish may take.
    #[arg(long, env = "OUTBOX_PUBLISH_TIMEOUT")]
    pub(crate) publish_timeout: Option<String>,
    /// Events of one claim.
    #[arg(long, env = "OUTBOX_BATCH_SIZE")]
    pub(crate) batch_size: Option<usize>,
    /// Failures after which an event is quarantined.
    #[arg(long, env = "OUTBOX_THRESHOLD")]
    pub(crate) threshold: Option<u32>,
    /// End when nothing is pending.
    #[arg(long)]
    pub(crate) drain: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// List letters, oldest first.
    List(Select),
    /// Show one letter with its payload.
    Show {
        /// The event.
        id: String,
        #[command(flatten)]
        options: StoreJson,
    },
    /// Move letters back into the outbox.
    Replay(Change),
    /// Delete letters for good.
    Purge(Change),
}

#[derive(Args, Debug)]
pub(crate) struct Select {
    /// These events.
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) options: StoreJson,
    /// Exactly this event type.
    #[arg(long = "type")]
    pub(crate) event_type: Option<String>,
    /// Exactly this ordering key.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// This text in the last error.
    #[arg(long)]
    pub(crate) error: Option<String>,
    /// Quarantined before this time, such as 2026-01-31T12:00:00Z.
    #[arg(long)]
    pub(crate) before: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Change {
    #[command(flatten)]
    pub(crate) select: Select,
    /// Every letter.
    #[arg(long)]
    pub(crate) all: bool,
    /// Only say which letters are meant.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

impl Store {
    /// The store's URL: `--store`, `OUTBOX_STORE`, then `DATABASE_URL`.
    pub(crate) fn url(&self) -> crate::exit::Outcome<String> {
        let url = self.store.clone();
        url.or_else(|| std::env::var("DATABASE_URL").ok())
            .ok_or_else(|| {
                crate::exit::bad_input("no store: give --store sqlite:PATH or set DATABASE_URL")
            })
    }
}
