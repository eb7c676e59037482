//! Runs a command, such as `cargo test --workspace`, with the servers that the tests need. An
//! environment variable names each of them. RabbitMQ is started only if a test asks for it.
//!
//! A server is the one that the environment names; or an installed one; or one in a container; or one
//! that the package manager installs now. With `OUTBOX_TEST_CONTAINERS=1` containers come before
//! installed servers. The program stops each server that it started when the command has ended.

mod container;
mod on_demand;
mod package;

use on_demand::OnDemand;
use std::process::{Command, ExitCode};
use test_servers::{Error, Kind, PROGRAM, Server, named, search_path};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!(
            "test-servers: the command is missing, such as `test-servers cargo test --workspace`"
        );
        return ExitCode::from(2);
    };
    let mut command = Command::new(&program);
    command.args(arguments);
    let _servers = match equip(&mut command) {
        Ok(servers) => servers,
        Err(message) => {
            eprintln!("test-servers: {message}");
            return ExitCode::FAILURE;
        }
    };
    match command.status() {
        Ok(status) => {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            code.map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Err(error) => {
            eprintln!("test-servers: {}: {error}", program.display());
            ExitCode::FAILURE
        }
    }
}

/// Brings the servers and names them to the command.
fn equip(command: &mut Command) -> Result<(Vec<Brought>, OnDemand), String> {
    let mut brought = Vec::new();
    for kind in Kind::ALL {
        if kind.is_on_demand() && named(kind).map_err(|error| line(&error))?.is_none() {
            provide(kind)?;
            continue;
        }
        let server = bring(kind)?;
        command.env(kind.variable(), server.url());
        brought.push(server);
    }
    provide(Kind::PgBouncer)?;
    let on_demand = OnDemand::listen().map_err(|error| line(&error))?;
    command.env(PROGRAM, on_demand.address());
    Ok((brought, on_demand))
}

/// A server that answers. It is stopped when this value is dropped, unless the environment named it.
enum Brought {
    Named(String),
    Installed(Server),
    Contained(container::Container),
}

impl Brought {
    fn url(&self) -> &str {
        match self {
            Self::Named(url) => url,
            Self::Installed(server) => server.url(),
            Self::Contained(container) => container.url(),
        }
    }

    fn origin(&self) -> &'static str {
        match self {
            Self::Named(_) => "from the environment",
            Self::Installed(_) => "started for this run",
            Self::Contained(_) => "in a container for this run",
        }
    }
}

/// The server, or one line that says what to install or to set. Prints where the server is from.
fn bring(kind: Kind) -> Result<Brought, String> {
    let server = find(kind)?;
    eprintln!("test-servers: {} {}", kind.name(), server.origin());
    Ok(server)
}

fn find(kind: Kind) -> Result<Brought, String> {
    if let Some(url) = named(kind).map_err(|error| line(&error))? {
        return Ok(Brought::Named(url));
    }
    let contained = wants_containers().then(|| container::start(kind)).flatten();
    if let Some(container) = contained {
        return container.map(Brought::Contained);
    }
    let missing = match Server::start(kind, &search_path()) {
        Ok(server) => return Ok(Brought::Installed(server)),
        Err(error @ Error::NotInstalled { .. }) => line(&error),
        Err(error) => return Err(line(&error)),
    };
    let contained = container::start(kind);
    if let Some(Ok(container)) = contained {
        return Ok(Brought::Contained(container));
    }
    let installed = package::install(kind);
    if let Some(Ok(())) = installed {
        return Server::start(kind, &search_path())
            .map(Brought::Installed)
            .map_err(|error| line(&error));
    }
    let mut reasons = vec![missing];
    reasons.extend(contained.and_then(Result::err));
    reasons.extend(installed.and_then(Result::err));
    Err(reasons.join("; "))
}

/// Installs a program that is started later, if it is missing and no container replaces it.
fn provide(kind: Kind) -> Result<(), String> {
    let found = || Server::is_installed(kind, &search_path()) || container::can_start(kind);
    if found() {
        return Ok(());
    }
    let installed = package::install(kind);
    if found() {
        return Ok(());
    }
    let (package, _) = kind.packages();
    let reason = installed.and_then(Result::err).unwrap_or_default();
    let name = kind.name();
    let variable = kind.variable();
    Err(format!(
        "no {name} for the tests: install {package}, or set {variable}; {reason}"
    ))
}

/// Whether containers come before installed servers.
fn wants_containers() -> bool {
    std::env::var_os("OUTBOX_TEST_CONTAINERS").is_some_and(|value| !value.is_empty())
}

/// An error and its causes on one line.
fn line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.replace('\n', " ")
}
