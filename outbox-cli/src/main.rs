//! `outbox`: see `outbox --help`.

mod check;
mod cli;
mod completions;
mod config;
mod demo;
mod destination;
mod dlq;
mod doctor;
mod failure;
mod health;
mod log;
mod migrate;
mod ndjson;
mod relay;
mod settings;
mod signals;
mod status;
mod systemd;
mod telemetry;
mod terminal;
mod time;
mod wiring;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use cli::{Cli, Command};
use failure::Failure;
use settings::LogFormat;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = without_empty_variables(Cli::command());
    let matches = command.try_get_matches();
    let parsed = matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let code = match parsed {
        Ok((cli, matches)) => execute(cli, &matches),
        Err(answer) => print(&answer),
    };
    log::wait_until_written();
    code
}

/// Ignores environment variables that are empty, as Compose files and CI systems set those that have no
/// value.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty =
        |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| {
            if arg.get_env().is_some_and(is_empty) {
                arg.env(Resettable::Reset)
            } else {
                arg
            }
        })
        .mut_subcommands(without_empty_variables)
}

/// Help and version are data, so they must be written. All else is a complaint about the arguments.
fn print(answer: &clap::Error) -> ExitCode {
    if answer.kind() == ErrorKind::InvalidUtf8 {
        let text = "an argument or an environment variable is not UTF-8; in a URL write other bytes as \
                    %XX, such as sqlite:caf%E9.db";
        return complain(&Failure::Input(text.to_owned()));
    }
    let printed = answer.print().and_then(|()| std::io::stdout().flush());
    match printed {
        Err(error) if !answer.use_stderr() => complain(&Failure::of_stdout(error)),
        // Where a complaint cannot be written, its exit code is left.
        _ => u8::try_from(answer.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from),
    }
}

fn execute(cli: Cli, matches: &ArgMatches) -> ExitCode {
    let in_file = || LogFormat::of_file(matches);
    let format = cli.log_format.or_else(in_file).unwrap_or(LogFormat::Text);
    log::set_format(format);
    let result = tokio::runtime::Runtime::new()
        .map_err(Failure::from)
        .and_then(|runtime| {
            let traces = telemetry::start(&cli, format, runtime.handle());
            let result = runtime.block_on(async {
                let result = run(cli.command, matches).await;
                if !matches!(result, Err(Failure::Interrupted)) {
                    wiring::close_files().await;
                }
                result
            });
            if !matches!(result, Err(Failure::Interrupted)) {
                traces.flush();
            }
            // A write to a pipe without a reader never ends, and must not keep the process alive.
            runtime.shutdown_background();
            result
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => complain(&failure),
    }
}

fn complain(failure: &Failure) -> ExitCode {
    // So that the queue has room for the one line that must not be missing.
    log::wait_until_written();
    log::failure(terminal::block(&failure.to_string()));
    failure.exit_code()
}

async fn run(command: Command, matches: &ArgMatches) -> Result<(), Failure> {
    match command {
        Command::Demo(options) => demo::run(&options).await,
        Command::Migrate(options) => migrate::run(&options).await,
        Command::Relay(options) => relay::run(&options).await,
        Command::Check(options) => check::run(&options).await,
        Command::Status(options) => status::run(&options).await,
        Command::Config(command) => config::run(&command, matches),
        Command::Dlq(command) => dlq::run(&command).await,
        Command::Doctor(options) => doctor::run(&options).await,
        Command::Destination(command) => destination::run(&command).await,
        Command::Completions(options) => completions::run(&options),
    }
}
