//! `outbox`: see `outbox --help`.

mod cli;
mod completions;
mod demo;
mod dlq;
mod failure;
mod migrate;
mod ndjson;
mod relay;
mod settings;
mod status;
mod terminal;
mod time;
mod wiring;

use clap::Parser;
use cli::{Cli, Command};
use failure::Failure;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let quiet = matches!(cli.command, Command::Demo(_));
    let default = if quiet { "off" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let result = tokio::runtime::Runtime::new()
        .map_err(Failure::from)
        .and_then(|runtime| {
            let result = runtime.block_on(run(cli.command));
            // A write to a pipe that nobody reads would never end, and must not hold the process.
            runtime.shutdown_background();
            result
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("outbox: {}", terminal::block(&failure.to_string()));
            failure.exit_code()
        }
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(options) => demo::run(&options).await,
        Command::Migrate(options) => migrate::run(&options).await,
        Command::Relay(options) => relay::run(&options).await,
        Command::Status(options) => status::run(&options).await,
        Command::Dlq(command) => dlq::run(&command).await,
        Command::Completions(options) => completions::run(&options),
    }
}
