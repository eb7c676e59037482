//! The arguments.
#![allow(
    clippy::doc_markdown,
    reason = "these comments are the help texts of the command"
)]

mod dlq;

pub(crate) use dlq::{
    ChangeOptions, DlqCommand, ExportOptions, ListOptions, PurgeOptions, ReplayOptions,
    ShowOptions, StatsOptions,
};

use crate::failure::Failure;
use crate::settings::{ConfigFile, Period, RelaySettings, UrlOptions};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;

/// A transactional outbox with a quarantine for dead letters.
///
/// A flag goes before the environment, which goes before the configuration file (--config), which
/// goes before the default. Data goes to stdout, logs and progress to stderr.
///
/// Exit codes: 0 done, 1 failed, 2 bad input, 3 a destination would accept no events.
#[derive(Debug, Parser)]
#[command(name = "outbox", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sends 412 real orders through an outbox on SQLite or PostgreSQL and says what became of each
    /// event.
    Demo(DemoOptions),
    /// Creates the tables of the outbox and the heap, or looks after them.
    Migrate(MigrateOptions),
    /// Publishes what waits in the outbox until SIGINT or SIGTERM; a second one ends it at once. SIGHUP
    /// opens the destination again.
    Relay(Box<RelayOptions>),
    /// Asks a destination, without publishing, whether it would accept events: exit code 0 if so, else 3.
    Check(CheckOptions),
    /// Shows what waits in the outbox, in the heap and in the quarantine.
    Status(StatusOptions),
    /// Works through the dead letters.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Prints a script that completes this command in a shell.
    Completions(CompletionsOptions),
}

#[derive(Args, Debug)]
pub(crate) struct DemoOptions {
    /// The folder for shop.db, on SQLite; each run creates the file again.
    #[arg(long, default_value = "outbox-demo")]
    pub(crate) dir: PathBuf,
    /// A PostgreSQL database instead, such as postgres://me@db.example/shop; each run makes the
    /// schema outbox_demo in it afresh, or the one of ?schema=NAME, and touches nothing else.
    #[arg(long, conflicts_with = "dir")]
    pub(crate) store: Option<String>,
    /// A real broker instead of the difficult one of this process: nats://, amqp://, redis:// or
    /// postgres://, as of `outbox relay --to`; the events are read back from there. Each run makes the
    /// stream or queue outbox_demo, or the schema outbox_demo_arrived, afresh, and touches nothing else.
    #[arg(long, value_name = "URL")]
    pub(crate) to: Option<String>,
    /// Other orders, in the format of data/chinook-orders.ndjson.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct MigrateOptions {
    /// What to do.
    #[arg(value_enum, default_value_t = MigrateAction::Up)]
    pub(crate) action: MigrateAction,
    #[command(flatten)]
    pub(crate) urls: UrlOptions,
    /// The inbox of consumers at this URL, which is one as of --store, instead of the store and the
    /// heap.
    #[arg(long, value_name = "URL")]
    pub(crate) inbox: Option<String>,
    /// The table that a relay publishes to, of a destination postgres://USER@HOST/DATABASE, instead of
    /// the store and the heap.
    #[arg(long, value_name = "URL", conflicts_with = "inbox")]
    pub(crate) to: Option<String>,
    /// With print: leave out the statements that start and commit a transaction, for a tool that opens
    /// one itself.
    #[arg(long)]
    pub(crate) no_transaction: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum MigrateAction {
    /// Create the tables, and their file or schema, where they are missing.
    Up,
    /// Say which migrations are applied and which are missing.
    Status,
    /// Fail unless the tables are those of this version.
    Check,
    /// Print the statements and change nothing.
    Print,
}

#[derive(Args, Debug)]
pub(crate) struct StatusOptions {
    #[command(flatten)]
    pub(crate) urls: UrlOptions,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RelayOptions {
    #[command(flatten)]
    pub(crate) urls: UrlOptions,
    /// End when nothing is pending any more; what a dead letter holds is pending. Fails if the
    /// destination takes nothing for --drain-timeout.
    #[arg(long)]
    pub(crate) drain: bool,
    #[command(flatten)]
    pub(crate) settings: RelaySettings,
}

#[derive(Args, Debug)]
pub(crate) struct CheckOptions {
    /// The destination, as of `outbox relay --to`. A regular file is created if it is missing
    /// [default: stdout://]
    #[arg(long, value_name = "URL", env = "OUTBOX_TO", hide_env_values = true)]
    to: Option<String>,
    /// The publish timeout of the relay, which is longer than the timeout in the URL [default: 10s]
    #[arg(long, env = "OUTBOX_PUBLISH_TIMEOUT", value_name = "TIME")]
    publish_timeout: Option<Period>,
    /// A TOML file for what neither a flag nor the environment sets.
    #[arg(long, env = "OUTBOX_CONFIG")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl CheckOptions {
    /// Those of the relay that the check would be for.
    pub(crate) fn settings(&self) -> Result<RelaySettings, Failure> {
        let flags = RelaySettings::of_destination(self.to.clone(), self.publish_timeout);
        Ok(ConfigFile::load(self.config.as_deref())?.relay_with(&flags))
    }
}

#[derive(Args, Debug)]
pub(crate) struct CompletionsOptions {
    /// The shell.
    pub(crate) shell: Shell,
}
