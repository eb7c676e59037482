//! The arguments of `outbox dlq`.
#![allow(
    clippy::doc_markdown,
    reason = "these comments are the help texts of the command"
)]

use crate::settings::{StoreOptions, UrlOptions};
use clap::{Args, Subcommand};
use outbox_core::{DeadLetterFilter, EventId, OutboxError};
use std::time::SystemTime;

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Lists dead letters, oldest first.
    List(ListOptions),
    /// Shows one dead letter with its payload.
    Show(ShowOptions),
    /// Counts dead letters by event type and error, the largest groups first.
    Stats(StatsOptions),
    /// Writes whole dead letters, a JSON object a line, oldest first.
    Export(ExportOptions),
    /// Moves dead letters back into the outbox, with a new budget of attempts.
    Replay(ReplayOptions),
    /// Deletes dead letters permanently.
    Purge(PurgeOptions),
}

#[derive(Args, Debug)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    pub(crate) store: StoreOptions,
    #[command(flatten)]
    pub(crate) filter: FilterOptions,
    /// The most dead letters to list.
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    pub(crate) limit: usize,
    /// List those behind this position.
    #[arg(long, value_name = "POSITION")]
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
pub(crate) struct StatsOptions {
    #[command(flatten)]
    pub(crate) store: StoreOptions,
    #[command(flatten)]
    pub(crate) filter: FilterOptions,
    /// The most groups to show.
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    pub(crate) limit: usize,
    /// Print a JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ExportOptions {
    #[command(flatten)]
    pub(crate) store: StoreOptions,
    #[command(flatten)]
    pub(crate) filter: FilterOptions,
    /// Where dead letters go: stdout://, or file:PATH, a new file that only its owner may read.
    #[arg(long, default_value = "stdout://")]
    pub(crate) to: String,
}

#[derive(Args, Debug)]
pub(crate) struct ReplayOptions {
    #[command(flatten)]
    pub(crate) urls: UrlOptions,
    #[command(flatten)]
    pub(crate) change: ChangeOptions,
}

#[derive(Args, Debug)]
pub(crate) struct PurgeOptions {
    #[command(flatten)]
    pub(crate) store: StoreOptions,
    #[command(flatten)]
    pub(crate) change: ChangeOptions,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ChangeOptions {
    /// The events' ids; without any, say which by --type, --key, --error, --before or --all.
    #[arg(value_parser = event_id, conflicts_with_all = ["event_type", "key", "error", "before"])]
    pub(crate) ids: Vec<EventId>,
    #[command(flatten)]
    pub(crate) filter: FilterOptions,
    /// All dead letters.
    #[arg(long, conflicts_with_all = ["ids", "event_type", "key", "error", "before"])]
    pub(crate) all: bool,
    /// Only dead letters up to this position: continues an interrupted run.
    #[arg(long, value_name = "POSITION")]
    pub(crate) through: Option<u64>,
    /// Only say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
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
    /// Only dead letters with this text in their last error.
    #[arg(long)]
    pub(crate) error: Option<String>,
    /// Only dead letters quarantined before this time: RFC 3339 with any offset, such as
    /// 2026-01-31T12:00:00+02:00, a date (its beginning in UTC), or an age such as 2h or 7days.
    #[arg(long, value_name = "TIME", value_parser = crate::time::parse)]
    pub(crate) before: Option<SystemTime>,
}

/// With the whole chain of the error, as clap prints only its first part.
fn event_id(text: &str) -> Result<EventId, String> {
    text.parse().map_err(|error: OutboxError| error.to_string())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "must be a whole number from 1".to_owned())
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
