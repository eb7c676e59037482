//! Runs a process of a server, and waits until it answers.

use crate::supervised::Supervised;
use crate::{Error, Kind};
use rustix::fs::statvfs;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The pause between two checks whether it answers.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// How long its first message may take.
const GREETING: Duration = Duration::from_secs(1);

/// A file system in memory, where it costs little to create a database of several hundred files.
const MEMORY: &str = "/dev/shm";

/// The least free space there, in bytes: the servers of a whole run need less than 2 GiB.
const ROOM: u64 = 4 << 30;

/// The file in its folder to which a process prints.
const LOG: &str = "log";

/// How a process is started and stopped, and how to find out whether it answers.
pub(crate) struct Plan {
    pub(crate) command: Vec<String>,
    pub(crate) signal: &'static str,
    pub(crate) answers: Answers,
}

/// Whether a process answers, from the folder of its programs, its own folder and its port. Another
/// server might answer on the port, so it asks over a socket in that folder, or for the folder's name.
type Answers = fn(&Path, &Path, u16) -> bool;

/// The port for clients, and all processes of a server.
pub(crate) type Started = (u16, Vec<Process>);

/// One process of a server.
#[derive(Debug)]
pub(crate) struct Process {
    kind: Kind,
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    answers: Answers,
    supervised: Supervised,
}

/// Runs a process in a temporary folder, and waits until it answers.
pub(crate) fn launch(
    kind: Kind,
    programs: &Path,
    port: u16,
    plan: impl FnOnce(&Path, &Path, u16) -> Result<Plan, Error>,
) -> Result<Process, Error> {
    let folder = new_folder()?;
    let plan = plan(programs, folder.path(), port)?;
    // The supervisor, which outlives this process, removes the folder.
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

/// A new folder in memory if there is room and `TMPDIR` names no other place, or else in the folder for
/// temporary files.
fn new_folder() -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("outbox-test-");
    let is_free = std::env::var_os("TMPDIR").is_none();
    let has_room = statvfs(MEMORY).is_ok_and(|system| system.f_bavail * system.f_frsize >= ROOM);
    if is_free
        && has_room
        && let Ok(folder) = builder.tempdir_in(MEMORY)
    {
        return Ok(folder);
    }
    builder.tempdir()
}

/// A port of 127.0.0.1 that no process uses now.
pub(crate) fn free_port() -> Result<u16, Error> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A port of 127.0.0.1 that no process uses now, and neither each port that is one of `distances` above
/// it. Another process may take them at any time.
///
/// # Errors
///
/// [`Error::Io`].
pub fn free_ports(distances: &[u16]) -> Result<u16, Error> {
    loop {
        let port = free_port()?;
        let is_free = |distance: &u16| {
            let above = port.checked_add(*distance);
            above.is_some_and(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        };
        if distances.iter().all(is_free) {
            return Ok(port);
        }
    }
}

/// The name of a process's folder, by which the process tells clients apart from other servers.
pub(crate) fn name_of(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Whether the first message of the server at `port`, after `hello` from the client, contains the name
/// of `folder`.
pub(crate) fn greets(folder: &Path, port: u16, hello: &[u8]) -> io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(GREETING))?;
    stream.write_all(hello)?;
    let name = name_of(folder);
    let (mut message, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut part)?;
        message.extend_from_slice(&part[..length]);
        if String::from_utf8_lossy(&message).contains(&name) {
            return Ok(true);
        }
        if length == 0 {
            return Ok(false);
        }
    }
}

impl Process {
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.supervised.kill()
    }

    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        self.supervised.suspend()
    }

    pub(crate) fn resume(&mut self) -> io::Result<()> {
        self.supervised.resume()
    }

    pub(crate) fn programs(&self) -> &Path {
        &self.programs
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Runs its command again after a [`kill`](Self::kill), and waits until it answers.
    pub(crate) fn run_again(&mut self) -> Result<(), Error> {
        self.supervised.run_again()?;
        self.wait()
    }

    fn wait(&self) -> Result<(), Error> {
        // A busy machine starts RabbitMQ in half a minute, an idle one in a few seconds.
        let factor = if self.kind == Kind::RabbitMq { 4 } else { 1 };
        let start = Instant::now();
        while !(self.answers)(&self.programs, &self.folder, self.port) {
            if start.elapsed() > PATIENCE * factor {
                let log = tail(&self.folder.join(LOG));
                let name = self.kind.name();
                return Err(Error::DoesNotStart { name, log });
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("; ")
}
