//! How PostgreSQL is started.

use crate::launch::Plan;
use crate::{Error, Kind};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// A new server with an empty database.
pub(crate) fn plan(programs: &Path, folder: &Path, port: u16) -> Result<Plan, Error> {
    let data = folder.join("data");
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut initdb = as_postgres(folder)?;
    initdb.extend([text(&programs.join("initdb")), "-D".into(), text(&data)]);
    initdb.extend(
        [
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
            "--locale=C",
            "-E",
            "UTF8",
        ]
        .map(str::to_owned),
    );
    succeed(&initdb)?;
    // In the file and not on the command line, so that ALTER SYSTEM can change them.
    let conf = data.join("postgresql.conf");
    let mut conf = OpenOptions::new().append(true).open(conf)?;
    conf.write_all(b"fsync = off\nfull_page_writes = off\n")?;
    run_postgres(programs, folder, port)
}

/// A streaming standby of the server at `primary`.
pub(crate) fn standby(
    programs: &Path,
    folder: &Path,
    port: u16,
    primary: &str,
) -> Result<Plan, Error> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut copy = as_postgres(folder)?;
    copy.extend([text(&programs.join("pg_basebackup")), "-D".into()]);
    copy.push(text(&folder.join("data")));
    copy.extend(["-R", "-c", "fast", "-d", primary].map(str::to_owned));
    succeed(&copy)?;
    run_postgres(programs, folder, port)
}

fn succeed(command: &[String]) -> Result<(), Error> {
    let made = Command::new(&command[0]).args(&command[1..]).output()?;
    if made.status.success() {
        return Ok(());
    }
    let log = String::from_utf8_lossy(&made.stderr).trim().to_owned();
    let name = Kind::Postgres.name();
    Err(Error::DoesNotStart { name, log })
}

/// Runs the server on the data in `folder`.
fn run_postgres(programs: &Path, folder: &Path, port: u16) -> Result<Plan, Error> {
    let data = folder.join("data");
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut command = as_postgres(folder)?;
    command.extend([text(&programs.join("postgres")), "-D".into(), text(&data)]);
    command.extend(["-p".into(), port.to_string(), "-k".into(), text(folder)]);
    for setting in ["listen_addresses=127.0.0.1", "max_connections=300"] {
        command.extend(["-c".to_owned(), setting.to_owned()]);
    }
    Ok(Plan {
        command,
        signal: "INT", // a fast shutdown, which does not wait for clients
        answers,
    })
}

/// The beginning of a command that runs the rest as the user postgres. It is empty unless this user
/// is root, as which PostgreSQL and PgBouncer refuse to run.
pub(crate) fn as_postgres(folder: &Path) -> Result<Vec<String>, Error> {
    let id = Command::new("id").arg("-u").output()?;
    if id.stdout.trim_ascii() != b"0" {
        return Ok(Vec::new());
    }
    let owned = Command::new("chown").arg("postgres").arg(folder).status()?;
    if !owned.success() {
        let log = "it does not run as root, and no user is named postgres".to_owned();
        let name = Kind::Postgres.name();
        return Err(Error::DoesNotStart { name, log });
    }
    let user = ["setpriv", "--reuid=postgres", "--regid=postgres"];
    let user = user.iter().chain(&["--init-groups", "--"]);
    Ok(user.map(|&part| part.to_owned()).collect())
}

/// Asks `pg_isready`, which also says no while the server is starting.
fn answers(programs: &Path, folder: &Path, port: u16) -> bool {
    Command::new(programs.join("pg_isready"))
        .args(["-q", "-t", "1", "-U", "postgres", "-p", &port.to_string()])
        .arg("-h")
        .arg(folder)
        .status()
        .is_ok_and(|status| status.success())
}
