//! How a Redis server is started, and how three of them become a cluster.

use crate::launch::{PATIENCE, PAUSE, Plan, Process, Started, free_ports, launch};
use crate::{Error, Kind};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

/// The Unix socket of a server, in its folder.
const SOCKET: &str = "redis.sock";

const MASTERS: u16 = 3;
const SLOTS: u16 = 16384;

/// The difference between the port of a cluster's node for other nodes and its port for clients.
const BUS: u16 = 10_000;

pub(crate) fn server(programs: &Path, folder: &Path, port: u16, settings: &[&str]) -> Plan {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut command = vec![text(&programs.join("redis-server"))];
    for (name, value) in [
        ("--port", port.to_string()),
        ("--bind", "127.0.0.1".to_owned()),
        ("--unixsocket", text(&folder.join(SOCKET))),
        ("--dir", text(folder)),
        ("--save", String::new()),
        ("--appendonly", "no".to_owned()),
    ] {
        command.extend([name.to_owned(), value]);
    }
    command.extend(settings.iter().map(|&part| part.to_owned()));
    Plan {
        command,
        signal: "TERM",
        answers: |_, folder, _| ask(folder, "PING").is_ok_and(|answer| is_ready(&answer)),
    }
}

/// Whether it has loaded its data. One that asks for a password is ready too: it accepts QUIT.
fn is_ready(answer: &str) -> bool {
    answer.contains('+') && !answer.contains("-LOADING")
}

/// Three masters that share the slots and know each other.
pub(crate) fn cluster(programs: &Path) -> Result<Started, Error> {
    let (mut nodes, mut ports) = (Vec::new(), Vec::new());
    for _ in 0..MASTERS {
        let port = free_ports(&[BUS])?;
        let plan = |programs: &Path, folder: &Path, port| {
            let settings = ["--cluster-enabled", "yes"];
            Ok(server(programs, folder, port, &settings))
        };
        nodes.push(launch(Kind::RedisCluster, programs, port, plan)?);
        ports.push(port);
    }
    let folders: Vec<&Path> = nodes.iter().map(Process::folder).collect();
    for (node, folder) in (0..MASTERS).zip(&folders) {
        let slots = (SLOTS * node / MASTERS)..(SLOTS * (node + 1) / MASTERS);
        let slots: Vec<String> = slots.map(|slot| slot.to_string()).collect();
        ask(folder, &format!("CLUSTER SET-CONFIG-EPOCH {}", node + 1))?;
        ask(folder, &format!("CLUSTER ADDSLOTS {}", slots.join(" ")))?;
        ask(folder, &format!("CLUSTER MEET 127.0.0.1 {}", ports[0]))?;
    }
    let start = Instant::now();
    while !folders.iter().all(|folder| is_whole(folder)) {
        if start.elapsed() > PATIENCE {
            let log = ask(folders[0], "CLUSTER INFO")?.replace("\r\n", "; ");
            let name = Kind::RedisCluster.name();
            return Err(Error::DoesNotStart { name, log });
        }
        std::thread::sleep(PAUSE);
    }
    Ok((ports[0], nodes))
}

fn is_whole(folder: &Path) -> bool {
    let size = format!("cluster_size:{MASTERS}\r");
    let is_whole = |info: String| info.contains("cluster_state:ok") && info.contains(&size);
    ask(folder, "CLUSTER INFO").is_ok_and(is_whole)
}

/// The answer of the server whose socket is in `folder`.
fn ask(folder: &Path, command: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(folder.join(SOCKET))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
