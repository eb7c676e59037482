//! How PgBouncer is started in front of a PostgreSQL server.

use crate::launch::Plan;
use crate::postmaster::as_postgres;
use crate::{Error, Kind};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// How many connections to the server are shared by the transactions of a database.
const SERVERS: u32 = 4;

/// PgBouncer in transaction mode. Apart from the limits of connections it has the settings of its
/// package. A client may name any database and any user.
pub(crate) fn plan(
    programs: &Path,
    folder: &Path,
    port: u16,
    postgres: &str,
) -> Result<Plan, Error> {
    let (host, server_port) = address(postgres)?;
    let directory = folder.display();
    let config = format!(
        "[databases]\n* = host={host} port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir = {directory}\nauth_type = trust\n\
         auth_file = {directory}/users\npool_mode = transaction\n\
         default_pool_size = {SERVERS}\nmax_client_conn = 200\nserver_round_robin = 1\n"
    );
    fs::write(folder.join("pgbouncer.ini"), config)?;
    fs::write(folder.join("users"), "\"postgres\" \"\"\n")?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut command = as_postgres(folder)?;
    command.push(text(&programs.join("pgbouncer")));
    command.push(text(&folder.join("pgbouncer.ini")));
    Ok(Plan {
        command,
        signal: "TERM", // an immediate shutdown, which does not wait for clients
        answers,
    })
}

fn address(url: &str) -> Result<(String, u16), Error> {
    let address = Kind::Postgres.address(url).ok_or(Error::NoUrl {
        variable: Kind::Postgres.variable(),
        example: "postgres://postgres@127.0.0.1:5432/test",
    })?;
    let (host, port) = address.rsplit_once(':').unwrap_or((&address, "5432"));
    Ok((host.to_owned(), port.parse().unwrap_or(5432)))
}

fn answers(_programs: &Path, folder: &Path, port: u16) -> bool {
    UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).is_ok()
}
