//! Runs a process of a server, and waits until it answers.

use crate::supervised::Supervised;
use crate::{Error, Kind};
use rustix::fs::statvfs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The pause between two checks whether it answers.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

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

/// Whether a process answers, from the folder of its programs, its own folder and its port. It asks
/// over a socket in that folder, because another server might answer on the port.
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

impl Process {
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.supervised.kill()
    }

    /// Runs its command again after a [`kill`](Self::kill), and waits until it answers.
    pub(crate) fn run_again(&mut self) -> Result<(), Error> {
        self.supervised.run_again()?;
        self.wait()
    }

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

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("; ")
}
