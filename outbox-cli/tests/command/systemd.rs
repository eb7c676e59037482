//! What a relay reports to systemd.

use crate::support::{Running, SHOP, command, done, signal};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// The place of systemd.
struct Manager(UnixDatagram);

impl Manager {
    fn listen(folder: &Path) -> Self {
        let socket = UnixDatagram::bind(folder.join("notify")).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self(socket)
    }

    /// The lines of the next report.
    fn report(&self) -> Vec<String> {
        let mut buffer = [0; 1024];
        let length = self.0.recv(&mut buffer).expect("a report");
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_relay_reports_that_it_is_ready_reloads_and_stops() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    done(folder, &["migrate", "--store", SHOP]);
    let manager = Manager::listen(folder);
    let mut relay = command(folder, &["relay", "--store", SHOP, "--to", "file:events"]);
    relay.env("NOTIFY_SOCKET", folder.join("notify"));
    let mut relay = Running::start(relay);
    assert_eq!(manager.report(), ["READY=1"]);
    signal(&relay.0, "HUP");
    let reloading = manager.report();
    assert_eq!(reloading[0], "RELOADING=1");
    assert!(reloading[1].starts_with("MONOTONIC_USEC="), "{reloading:?}");
    assert_eq!(manager.report(), ["READY=1"]);
    relay.stop();
    assert_eq!(manager.report(), ["STOPPING=1"]);
}

#[test]
fn a_relay_whose_only_store_cannot_be_opened_is_never_ready() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let manager = Manager::listen(folder);
    let mut relay = command(folder, &["relay", "--store", SHOP]);
    relay.env("NOTIFY_SOCKET", folder.join("notify"));
    assert!(!relay.output().unwrap().status.success());
    manager.0.set_nonblocking(true).unwrap();
    assert!(manager.0.recv(&mut [0; 1024]).is_err(), "a report");
}
