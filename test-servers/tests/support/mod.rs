//! What the tests of servers share.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use test_servers::Kind;

/// What a server must do well within.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long a server that answers would need at most.
pub(crate) const SILENCE: Duration = Duration::from_millis(500);

/// The program of this crate, with its temporary folders in `folder`.
pub(crate) fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_test-servers"));
    for kind in Kind::ALL {
        command.env_remove(kind.variable());
    }
    command.env("TMPDIR", folder).stdin(Stdio::null());
    command
}

/// A folder that the user postgres may enter.
pub(crate) fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let status = Command::new("chmod").arg("755").arg(folder.path()).status();
    assert!(status.expect("chmod").success());
    folder
}

pub(crate) fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).expect("read").next().is_none()
}

/// Kills the owner of servers whose data is in `folder`, and waits until they are gone with it.
pub(crate) fn kill_owner(owner: &mut Child, folder: &Path) {
    owner.kill().expect("killed");
    owner.wait().expect("reaped");
    let start = Instant::now();
    while !is_empty(folder) {
        assert!(start.elapsed() < PATIENCE, "a server outlived its owner");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The port of a URL.
pub(crate) fn port(url: &str) -> u16 {
    let (_, after) = url.rsplit_once("127.0.0.1:").expect("a port");
    let digits = after.split('/').next().unwrap_or(after);
    digits.parse().expect("a number")
}

/// Whether nothing arrives, on a connection that stays open.
pub(crate) fn is_silent(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SILENCE)).expect("set");
    let read = stream.read(&mut [0]);
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let waits = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
    read.is_err_and(|error| waits.contains(&error.kind()))
}
