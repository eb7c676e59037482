//! Servers from what is installed, each in a temporary folder and on a free port.

use crate::supervised::Supervised;
use crate::{Error, Kind, find, pgbouncer, redis};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a server may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is asked.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// What a process prints, in its folder.
const LOG: &str = "log";

/// Another process can take the free port before the server does.
const TRIES: usize = 3;

/// A server that this process started. It stops, and its data goes, when this is dropped or the
/// process ends, also by SIGKILL.
#[derive(Debug)]
pub struct Server {
    url: String,
    processes: Vec<Process>,
}

/// One process of a server.
#[derive(Debug)]
pub(crate) struct Process {
    kind: Kind,
    programs: PathBuf,
    pub(crate) folder: PathBuf,
    port: u16,
    answers: Answers,
    supervised: Supervised,
}

/// Whether a process answers, from its programs, its folder and its port: over a socket in its own
/// folder, as another server might answer on the port.
type Answers = fn(&Path, &Path, u16) -> bool;

impl Server {
    /// Starts a server from the first of `folders` that has its programs, and waits until it
    /// answers. It does not sync its files: what it holds is worth nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NotInstalled`], [`Error::DoesNotStart`] with what it printed, [`Error::Io`].
    pub fn start(kind: Kind, folders: &[PathBuf]) -> Result<Self, Error> {
        Self::try_to_start(kind, folders, |programs| match kind {
            Kind::Postgres => one(kind, programs, free_port()?, postgres),
            Kind::Redis => one(kind, programs, free_port()?, |programs, folder, port| {
                Ok(redis::server(programs, folder, port, &[]))
            }),
            Kind::RedisCluster => redis::cluster(programs),
            Kind::PgBouncer => Err(Error::DoesNotStart {
                name: kind.name(),
                log: "it needs a PostgreSQL: see start_pgbouncer".to_owned(),
            }),
        })
    }

    /// Starts a Redis with the given settings, each a name such as `--requirepass` and its value,
    /// on a port of the caller's or a free one.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_redis(
        folders: &[PathBuf],
        port: Option<u16>,
        settings: &[&str],
    ) -> Result<Self, Error> {
        Self::try_to_start(Kind::Redis, folders, |programs| {
            let port = port.map_or_else(free_port, Ok)?;
            one(Kind::Redis, programs, port, |programs, folder, port| {
                Ok(redis::server(programs, folder, port, settings))
            })
        })
    }

    /// Starts a PgBouncer in transaction mode that leads to the PostgreSQL at `postgres`.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_pgbouncer(folders: &[PathBuf], postgres: &str) -> Result<Self, Error> {
        let kind = Kind::PgBouncer;
        Self::try_to_start(kind, folders, |programs| {
            one(kind, programs, free_port()?, |programs, folder, port| {
                pgbouncer::plan(programs, folder, port, postgres)
            })
        })
    }

    /// Starts a standby of this PostgreSQL, which follows it.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_standby(&self, folders: &[PathBuf]) -> Result<Self, Error> {
        let kind = Kind::Postgres;
        Self::try_to_start(kind, folders, |programs| {
            one(kind, programs, free_port()?, |programs, folder, port| {
                standby(programs, folder, port, &self.url)
            })
        })
    }

    /// Whether one of `folders` has the programs of a server.
    #[must_use]
    pub fn is_installed(kind: Kind, folders: &[PathBuf]) -> bool {
        find(kind.programs(), folders).is_some()
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
        for process in &mut self.processes {
            process.supervised.kill()?;
        }
        Ok(())
    }

    /// Starts it again after a [`kill`](Self::kill), on the same port and the same data, and
    /// waits until it answers.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> Result<(), Error> {
        for process in &mut self.processes {
            process.supervised.run_again()?;
            process.wait()?;
        }
        Ok(())
    }

    /// A [`kill`](Self::kill), and a [`restart`](Self::restart).
    ///
    /// # Errors
    ///
    /// Those of both.
    pub fn crash(&mut self) -> Result<(), Error> {
        self.kill()?;
        self.restart()
    }

    fn try_to_start(
        kind: Kind,
        folders: &[PathBuf],
        start: impl Fn(&Path) -> Result<Started, Error>,
    ) -> Result<Self, Error> {
        let programs = find(kind.programs(), folders).ok_or_else(|| Error::NotInstalled {
            name: kind.name(),
            programs: kind.programs().join(", "),
            variable: kind.variable(),
        })?;
        let mut started = start(&programs);
        for _ in 1..TRIES {
            if !matches!(started, Err(Error::DoesNotStart { .. })) {
                break;
            }
            started = start(&programs);
        }
        let (port, processes) = started?;
        Ok(Self {
            url: kind.local(port),
            processes,
        })
    }
}

/// The port for clients, and all processes.
pub(crate) type Started = (u16, Vec<Process>);

/// A server that is a single process.
fn one(
    kind: Kind,
    programs: &Path,
    port: u16,
    plan: impl FnOnce(&Path, &Path, u16) -> Result<Plan, Error>,
) -> Result<Started, Error> {
    Ok((port, vec![launch(kind, programs, port, plan)?]))
}

pub(crate) fn free_port() -> Result<u16, Error> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Process {
    fn wait(&self) -> Result<(), Error> {
        let start = Instant::now();
        while !(self.answers)(&self.programs, &self.folder, self.port) {
            if start.elapsed() > PATIENCE {
                let log = tail(&self.folder.join(LOG));
                let name = self.kind.name();
                return Err(Error::DoesNotStart { name, log });
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

/// Runs a process in a temporary folder, and waits until it answers.
pub(crate) fn launch(
    kind: Kind,
    programs: &Path,
    port: u16,
    plan: impl FnOnce(&Path, &Path, u16) -> Result<Plan, Error>,
) -> Result<Process, Error> {
    // From here the supervisor removes the folder, as it outlives this process.
    let folder = tempfile::Builder::new().prefix("outbox-test-").tempdir()?;
    let plan = plan(programs, folder.path(), port)?;
    let folder = folder.keep();
    let supervised = Supervised::spawn(plan.signal, &folder, &folder.join(LOG), &plan.command)?;
    let process = Process {
        kind,
        programs: programs.to_owned(),
        folder,
        port,
        answers: plan.answers,
        supervised,
    };
    process.wait()?;
    Ok(process)
}

/// The folders in which servers are looked for: `PATH`, then where Debian keeps PostgreSQL, the
/// newest version first, where Homebrew keeps it, and where Debian keeps PgBouncer.
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
    folders.push("/usr/sbin".into());
    folders
}

/// How a process is started and stopped, and how it is known to answer.
pub(crate) struct Plan {
    pub(crate) command: Vec<String>,
    pub(crate) signal: &'static str,
    pub(crate) answers: Answers,
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
    succeed(&initdb)?;
    // In the file, so that ALTER SYSTEM can change them.
    let conf = data.join("postgresql.conf");
    let mut conf = std::fs::OpenOptions::new().append(true).open(conf)?;
    conf.write_all(b"fsync = off\nfull_page_writes = off\n")?;
    run_postgres(programs, folder, port)
}

/// A replica of the server at `primary`.
fn standby(programs: &Path, folder: &Path, port: u16, primary: &str) -> Result<Plan, Error> {
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
        answers: postgres_answers,
    })
}

/// The command that runs the rest as the user postgres: the server refuses to be run by root.
pub(crate) fn as_postgres(folder: &Path) -> Result<Vec<String>, Error> {
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

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("; ")
}
