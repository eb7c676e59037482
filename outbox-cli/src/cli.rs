//! The arguments.
#![allow(
    clippy::doc_markdown,
    reason = "these comments are the help texts of the command"
)]

use clap::{Args, Parser, Subcommand, ValueEnum};
use humantime::parse_duration;
use outbox_core::{DeadLetterFilter, EventId, OutboxError};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A transactional outbox with a dead-letter queue.
///
/// Exit codes: 0 done, 1 failed, 2 bad input. Data goes to stdout, logs and progress to stderr.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sends 412 real orders through an outbox on SQLite and says what became of each event.
    Demo(DemoOptions),
    /// Creates the tables of the outbox and the heap, or looks after them.
    Migrate(MigrateOptions),
    /// Publishes what waits in the outbox until SIGINT or SIGTERM.
    Relay(RelayOptions),
    /// Shows what waits in the outbox, in the heap and in the quarantine.
    Status(StatusOptions),
    /// Works through the dead letters.
    #[command(subcommand)]
    Dlq(DlqCommand),
}

#[derive(Args, Debug)]
pub(crate) struct DemoOptions {
    /// The folder for shop.db; made afresh by each run.
    #[arg(long, default_value = "outbox-demo")]
    pub(crate) dir: PathBuf,
    /// Other orders, in the format of data/chinook-orders.ndjson.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct StoreOptions {
    /// Where events wait, such as sqlite:shop.db.
    #[arg(long, env = "DATABASE_URL")]
    pub(crate) store: String,
}

#[derive(Args, Debug)]
pub(crate) struct MigrateOptions {
    /// What to do.
    #[arg(value_enum, default_value_t = MigrateAction::Up)]
    pub(crate) action: MigrateAction,
    /// Where events wait, such as sqlite:shop.db. The file is created if it is missing.
    #[arg(long, env = "DATABASE_URL")]
    pub(crate) store: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum MigrateAction {
    /// Create the file and the tables where they are missing.
    Up,
    /// Fail unless the tables are those of this version.
    Check,
    /// Print the statements and change nothing.
    Print,
}

#[derive(Args, Debug)]
pub(crate) struct StatusOptions {
    #[command(flatten)]
    pub(crate) store: StoreOptions,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RelayOptions {
    #[command(flatten)]
    pub(crate) store: StoreOptions,
    /// Where events go: stdout:// or file:PATH, a JSON object a line.
    #[arg(long, env = "OUTBOX_TO", default_value = "stdout://")]
    pub(crate) to: String,
    /// End when nothing is pending any more.
    #[arg(long)]
    pub(crate) drain: bool,
    /// Events per claim.
    #[arg(long, env = "OUTBOX_BATCH_SIZE")]
    pub(crate) batch_size: Option<usize>,
    /// How long a claim is held; longer than the publish timeout.
    #[arg(long, env = "OUTBOX_LEASE", value_parser = parse_duration)]
    pub(crate) lease: Option<Duration>,
    /// How long one publish may take.
    #[arg(long, env = "OUTBOX_PUBLISH_TIMEOUT", value_parser = parse_duration)]
    pub(crate) publish_timeout: Option<Duration>,
    /// Failed attempts before an event is quarantined.
    #[arg(long, env = "OUTBOX_THRESHOLD")]
    pub(crate) threshold: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Lists dead letters, oldest first.
    List(ListOptions),
    /// Shows one dead letter with its payload.
    Show(ShowOptions),
    /// Moves dead letters back into the outbox, with a new budget of attempts.
    Replay(ChangeOptions),
    /// Deletes dead letters for good.
    Purge(ChangeOptions),
}

#[derive(Args, Debug)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    pub(crate) store: StoreOptions,
    #[command(flatten)]
    pub(crate) filter: FilterOptions,
    /// The most letters to list.
    #[arg(long, default_value_t = 100)]
    pub(crate) limit: usize,
    /// List those behind this position.
    #[arg(long)]
    pub(crate) after: Option<u64>,
    /// Print a JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ShowOptions {
    /// The event's id.
    #[arg(value_parser = event_id)]
    pub(crate) id: EventId,
    #[command(flatten)]
    pub(crate) store: StoreOptions,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct ChangeOptions {
    /// The events' ids; without any, say which by --type, --key, --error, --before or --all.
    #[arg(value_parser = event_id)]
    pub(crate) ids: Vec<EventId>,
    #[command(flatten)]
    pub(crate) store: StoreOptions,
    #[command(flatten)]
    pub(crate) filter: FilterOptions,
    /// All dead letters.
    #[arg(long, conflicts_with_all = ["ids", "event_type", "key", "error", "before"])]
    pub(crate) all: bool,
    /// Only say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct FilterOptions {
    /// Only this event type.
    #[arg(long = "type")]
    pub(crate) event_type: Option<String>,
    /// Only this ordering key.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Only letters with this text in their last error.
    #[arg(long)]
    pub(crate) error: Option<String>,
    /// Only letters quarantined before this time, such as 2026-01-31T12:00:00Z.
    #[arg(long, value_parser = humantime::parse_rfc3339_weak)]
    pub(crate) before: Option<SystemTime>,
}

/// With the whole chain of the error, as clap prints only its first part.
fn event_id(text: &str) -> Result<EventId, String> {
    text.parse().map_err(|error: OutboxError| error.report())
}

impl FilterOptions {
    pub(crate) fn is_empty(&self) -> bool {
        self.event_type.is_none()
            && self.key.is_none()
            && self.error.is_none()
            && self.before.is_none()
    }

    pub(crate) fn filter(&self) -> DeadLetterFilter {
        let mut filter = DeadLetterFilter::all();
        filter.event_type.clone_from(&self.event_type);
        filter.ordering_key.clone_from(&self.key);
        filter.error_contains.clone_from(&self.error);
        filter.before = self.before;
        filter
    }
}
