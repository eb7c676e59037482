//! The `outbox` command.

mod cli;
mod demo;
mod dlq;
mod exit;
mod migrate;
mod ndjson;
mod relay;
mod status;
mod wiring;

use clap::Parser;
use cli::Command;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let result = match cli::Cli::parse().command {
        Command::Demo(options) => demo::run(&options).await,
        Command::Relay(options) => relay::run(options).await,
        Command::Migrate(options) => migrate::run(&options).await,
        Command::Status(options) => status::run(&options).await,
        Command::Dlq { command } => dlq::run(&command).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("outbox: {}", failure.text);
            ExitCode::from(failure.code)
        }
    }
}
