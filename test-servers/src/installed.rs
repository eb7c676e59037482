//! Servers from what is installed, each in a temporary folder and on a free port.

use crate::supervised::Supervised;
use crate::{Error, Kind, find};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(20);

/// What the server prints, in its folder.
const LOG: &str = "log";

/// Redis's own socket in its folder.
const REDIS_SOCKET: &str = "redis.sock";

/// Another process can take the free port before the server does.
const TRIES: usize = 3;

/// A server that this process started. It stops, and its data goes, when this is dropped or the
/// process ends, also by SIGKILL.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    url: String,
    process: Supervised,
}

impl Server {
    /// Starts a server from the first of `folders` that has its programs, and waits until it
    /// answers. It does not sync its files: what it holds is worth nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NotInstalled`], [`Error::DoesNotStart`] with what it printed, [`Error::Io`].
    pub fn start(kind: Kind, folders: &[PathBuf]) -> Result<Self, Error> {
        let programs = find(kind.programs(), folders).ok_or_else(|| Error::NotInstalled {
            name: kind.name(),
            programs: kind.programs().join(", "),
            variable: kind.variable(),
        })?;
        let mut tried = Self::start_once(kind, &programs);
        for _ in 1..TRIES {
            if !matches!(tried, Err(Error::DoesNotStart { .. })) {
                break;
            }
            tried = Self::start_once(kind, &programs);
        }
        tried
    }

    /// The URL, for a client on this machine.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills it with SIGKILL, all its processes, and returns when they are gone. What they had
    /// given to the operating system stays, so not to sync files loses nothing here.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn kill(&mut self) -> Result<(), Error> {
        Ok(self.process.kill()?)
    }

    /// Starts it again after a [`kill`](Self::kill), on the same port and the same data, and
    /// waits until it answers.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> Result<(), Error> {
        self.process.run_again()?;
        self.wait()
    }

    fn wait(&self) -> Result<(), Error> {
        let start = Instant::now();
        let answers = match self.kind {
            Kind::Postgres => postgres_answers,
            Kind::Redis => redis_answers,
        };
        while !answers(&self.programs, &self.folder, self.port) {
            if start.elapsed() > PATIENCE {
                let log = tail(&self.folder.join(LOG));
                let name = self.kind.name();
                return Err(Error::DoesNotStart { name, log });
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn start_once(kind: Kind, programs: &Path) -> Result<Self, Error> {
        // From here the supervisor removes the folder, as it outlives this process.
        let folder = tempfile::Builder::new().prefix("outbox-test-").tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let plan = match kind {
            Kind::Postgres => postgres(programs, folder.path(), port)?,
            Kind::Redis => redis(programs, folder.path(), port),
        };
        let folder = folder.keep();
        let process = Supervised::spawn(plan.signal, &folder, &folder.join(LOG), &plan.command)?;
        let server = Self {
            kind,
            programs: programs.to_owned(),
            folder,
            port,
            url: kind.local(port),
            process,
        };
        server.wait()?;
        Ok(server)
    }
}

/// The folders in which servers are looked for: `PATH`, then where Debian keeps PostgreSQL, the
/// newest version first, and where Homebrew keeps it.
#[must_use]
pub fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
    ] {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let mut versions: Vec<(u32, PathBuf)> = entries
            .filter_map(|entry| {
                let name = entry.file_name();
                let version = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
                Some((version, entry.path().join("bin")))
            })
            .collect();
        versions.sort_unstable_by(|one, two| two.cmp(one));
        folders.extend(versions.into_iter().map(|(_, folder)| folder));
    }
    folders
}

/// How a server is started and stopped. It is asked over a socket in its own folder whether it
/// answers, as another server might answer on the port.
struct Plan {
    command: Vec<String>,
    signal: &'static str,
}

fn postgres(programs: &Path, folder: &Path, port: u16) -> Result<Plan, Error> {
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
    let made = Command::new(&initdb[0]).args(&initdb[1..]).output()?;
    if !made.status.success() {
        let log = String::from_utf8_lossy(&made.stderr).trim().to_owned();
        let name = Kind::Postgres.name();
        return Err(Error::DoesNotStart { name, log });
    }
    let mut command = as_postgres(folder)?;
    command.extend([text(&programs.join("postgres")), "-D".into(), text(&data)]);
    command.extend(["-p".into(), port.to_string(), "-k".into(), text(folder)]);
    for setting in [
        "listen_addresses=127.0.0.1",
        "max_connections=300",
        "fsync=off",
        "full_page_writes=off",
    ] {
        command.extend(["-c".to_owned(), setting.to_owned()]);
    }
    Ok(Plan {
        command,
        signal: "INT", // a fast shutdown, which does not wait for clients
    })
}

/// The command that runs the rest as the user postgres: the server refuses to be run by root.
fn as_postgres(folder: &Path) -> Result<Vec<String>, Error> {
    let id = Command::new("id").arg("-u").output()?;
    if id.stdout.trim_ascii() != b"0" {
        return Ok(Vec::new());
    }
    let owned = Command::new("chown").arg("postgres").arg(folder).status()?;
    if !owned.success() {
        let log = "as root it needs a user named postgres, and there is none".to_owned();
        let name = Kind::Postgres.name();
        return Err(Error::DoesNotStart { name, log });
    }
    let user = ["setpriv", "--reuid=postgres", "--regid=postgres"];
    let user = user.iter().chain(&["--init-groups", "--"]);
    Ok(user.map(|&part| part.to_owned()).collect())
}

/// `pg_isready` over the socket; it is no, too, while the server is still starting.
fn postgres_answers(programs: &Path, folder: &Path, port: u16) -> bool {
    Command::new(programs.join("pg_isready"))
        .args(["-q", "-t", "1", "-U", "postgres", "-p", &port.to_string()])
        .arg("-h")
        .arg(folder)
        .status()
        .is_ok_and(|status| status.success())
}

fn redis(programs: &Path, folder: &Path, port: u16) -> Plan {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut command = vec![text(&programs.join("redis-server"))];
    for (name, value) in [
        ("--port", port.to_string()),
        ("--bind", "127.0.0.1".to_owned()),
        ("--unixsocket", text(&folder.join(REDIS_SOCKET))),
        ("--dir", text(folder)),
        ("--save", String::new()),
        ("--appendonly", "no".to_owned()),
    ] {
        command.extend([name.to_owned(), value]);
    }
    Plan {
        command,
        signal: "TERM",
    }
}

fn redis_answers(_programs: &Path, folder: &Path, _port: u16) -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = UnixStream::connect(folder.join(REDIS_SOCKET))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(answer == *b"+PONG")
    };
    ask().unwrap_or(false)
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("; ")
}
