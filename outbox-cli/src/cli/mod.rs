//! The arguments.
#![allow(
    clippy::doc_markdown,
    reason = "these comments are the help texts of the command"
)]

mod destination;
mod dlq;

pub(crate) use destination::{
    DestinationCommand, DestinationsOptions, DisableOptions, EnableOptions,
};
pub(crate) use dlq::{
    ChangeOptions, DlqCommand, ExportOptions, ListOptions, PurgeOptions, ReplayOptions,
    ShowOptions, StatsOptions,
};

use crate::failure::Failure;
use crate::health::Endpoint;
use crate::settings::{ConfigFile, LogFormat, Period, Plan, RelaySettings, UrlOptions};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A transactional outbox with a quarantine for dead letters.
///
/// A flag goes before the environment, which goes before the configuration file (--config), which
/// goes before the default. Data goes to stdout, logs and progress to stderr.
///
/// Exit codes: 0 done, 1 failed, 2 bad input, 3 a check found a problem (check, doctor, status).
#[derive(Debug, Parser)]
#[command(name = "outbox", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// The form of the lines on stderr; `log-format` in the relay table of the file [default: text]
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        env = "OUTBOX_LOG_FORMAT"
    )]
    pub(crate) log_format: Option<LogFormat>,
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
    /// opens the destination again, and loads the configuration file again.
    Relay(Box<RelayOptions>),
    /// Asks a destination, without publishing, whether it would accept events: exit code 0 if so, else 3.
    Check(CheckOptions),
    /// Shows the relays that run, their claims, the events that wait, and the failures of now.
    Status(StatusOptions),
    /// Shows or checks the configuration of a relay.
    #[command(subcommand)]
    Config(Box<ConfigCommand>),
    /// Works through the dead letters.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Switches destinations on and off. An HTTP endpoint that answers 410 is off until a person switches
    /// it on; its events wait.
    #[command(subcommand)]
    Destination(DestinationCommand),
    /// Examines the settings, the tables, the heap and the destination of each relay, and says what to do
    /// about each finding. Changes nothing. Exit code 3 if there is an error; warnings leave it at 0.
    Doctor(Box<ConfigOptions>),
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
    /// Exit code 3 if the oldest pending event was created longer ago, such as 5min.
    #[arg(long, value_name = "TIME")]
    pub(crate) max_age: Option<Period>,
    /// Exit code 3 if there are more dead letters.
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_dead: Option<u64>,
    /// Show it again and again, until SIGINT: every 2 seconds, or as often as given, such as 10s.
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2s",
        conflicts_with_all = ["max_age", "max_dead"]
    )]
    pub(crate) watch: Option<Period>,
    /// How many rows each table has at most.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: u16,
    /// Print JSON, one object for each store.
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
    /// Ask the relay that listens, for containers, and exit with 0 if it answers that all is well, else 1:
    /// livez (restart it if not), readyz or healthz.
    #[arg(long, value_enum, value_name = "PAGE", num_args = 0..=1, require_equals = true,
          default_missing_value = "livez")]
    pub(crate) healthcheck: Option<Endpoint>,
    #[command(flatten)]
    pub(crate) settings: RelaySettings,
}

impl RelayOptions {
    /// Where the process shows metrics and health.
    pub(crate) fn listen(&self) -> Result<Option<SocketAddr>, Failure> {
        Ok(self.urls.file()?.relay_with(&self.settings).listen)
    }

    /// The stores with their relays that the process runs.
    pub(crate) fn plan(&self) -> Result<Plan, Failure> {
        self.urls.plan(&self.settings)
    }
}

#[derive(Args, Debug)]
pub(crate) struct CheckOptions {
    /// The destination, as of `outbox relay --to`. A regular file is created if it is missing
    /// [default: stdout://]
    #[arg(long, value_name = "URL", env = "OUTBOX_TO", hide_env_values = true)]
    to: Option<String>,
    /// As of `outbox relay --template`.
    #[arg(long, env = "OUTBOX_TEMPLATE")]
    template: Option<String>,
    /// As of `outbox relay --form` [default: raw]
    #[arg(long, env = "OUTBOX_FORM")]
    form: Option<String>,
    /// The publish timeout of the relay, which is longer than the timeout in the URL [default: 10s]
    #[arg(long, env = "OUTBOX_PUBLISH_TIMEOUT", value_name = "TIME")]
    publish_timeout: Option<Period>,
    /// The name of a store of the configuration file, whose destination is asked. Otherwise those of all
    /// stores are.
    #[arg(long, value_name = "NAME", conflicts_with = "to")]
    store: Option<String>,
    /// A TOML file for what neither a flag nor the environment sets.
    #[arg(long, env = "OUTBOX_CONFIG")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl CheckOptions {
    /// Those of the relays that the check would be for, with the names of their stores.
    pub(crate) fn settings(&self) -> Result<Vec<(Option<String>, RelaySettings)>, Failure> {
        let mut flags = RelaySettings::default();
        flags.to.clone_from(&self.to);
        flags.template.clone_from(&self.template);
        flags.form.clone_from(&self.form);
        flags.publish_timeout = self.publish_timeout;
        let file = ConfigFile::load(self.config.as_deref())?;
        file.destinations(&flags, self.store.as_deref())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Shows the settings of each store, with where each of them comes from: a flag, the environment, a line
    /// of the file, or the default. No password is shown.
    Show(ConfigOptions),
    /// Checks the configuration that a relay with these flags would have, without asking a server. Exit
    /// code 2 if it is refused; all that is wrong is reported.
    Check(ConfigOptions),
}

#[derive(Args, Debug)]
pub(crate) struct ConfigOptions {
    #[command(flatten)]
    pub(crate) urls: UrlOptions,
    #[command(flatten)]
    pub(crate) settings: RelaySettings,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CompletionsOptions {
    /// The shell.
    pub(crate) shell: Shell,
}
