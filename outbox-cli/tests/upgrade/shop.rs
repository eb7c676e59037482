//! A store, the commands of two versions on it, and what their relays publish.

use crate::endpoint::{Arrival, Endpoint};
use outbox_core::EventId;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Version {
    Old,
    New,
}

impl Version {
    fn name(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }

    /// Whether it is the version of the relay with this name.
    pub(crate) fn has(self, relay: &str) -> bool {
        relay.starts_with(self.name())
    }
}

/// A relay that runs, and is killed in the end, also when its test fails.
pub(crate) struct Relay {
    name: String,
    child: Child,
}

impl Relay {
    /// Asks it to end, and asserts that it does so well. A relay that has published something handles signals.
    pub(crate) fn terminate(mut self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", "TERM", &id]).status();
        assert!(sent.expect("it runs").success());
        let code = self.ended();
        assert_eq!(
            code,
            Some(0),
            "the exit code of {} after SIGTERM",
            self.name
        );
    }

    /// The exit code. Fails if it never ends.
    fn ended(&mut self) -> Option<i32> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("waited") {
                return status.code();
            }
            let limit = Duration::from_secs(30);
            assert!(start.elapsed() < limit, "{} does not end", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Shop {
    folder: TempDir,
    store: String,
    old: PathBuf,
    pub(crate) endpoint: Endpoint,
    relays: Cell<usize>,
    /// The names of the relays that were killed with SIGKILL.
    killed: RefCell<HashSet<String>>,
}

impl Shop {
    pub(crate) fn new(store: String) -> Self {
        let old = std::env::var_os("OUTBOX_OLD_BINARY").map(PathBuf::from);
        let old = old.expect("OUTBOX_OLD_BINARY, the command of an older version: run .ci/upgrade");
        assert!(
            old.is_file(),
            "OUTBOX_OLD_BINARY is {}, which is not a file",
            old.display()
        );
        Self {
            folder: TempDir::new().expect("a folder"),
            store,
            old,
            endpoint: Endpoint::start(),
            relays: Cell::new(0),
            killed: RefCell::default(),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, version: Version, arguments: &[&str]) -> Command {
        let new = Path::new(env!("CARGO_BIN_EXE_outbox"));
        let mut command = Command::new(match version {
            Version::Old => &self.old,
            Version::New => new,
        });
        command
            .current_dir(self.folder())
            .env_clear()
            .args(arguments)
            .args(["--store", &self.store])
            .stdin(Stdio::null());
        command
    }

    fn output(&self, version: Version, arguments: &[&str]) -> Output {
        let output = self.command(version, arguments).output();
        output.expect("the command runs")
    }

    /// The stdout of a command that must succeed.
    pub(crate) fn done(&self, version: Version, arguments: &[&str]) -> String {
        let output = self.output(version, arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{version:?} {arguments:?}: {errors}"
        );
        String::from_utf8(output.stdout).expect("text")
    }

    pub(crate) fn relay(&self, version: Version) -> Relay {
        let number = self.relays.get();
        self.relays.set(number + 1);
        let name = format!("{}-{number}", version.name());
        let to = self.endpoint.url(&name);
        // A lease that is longer than a slow machine needs, so that only a relay that was killed loses one.
        let limits = [
            "--lease",
            "6s",
            "--publish-timeout",
            "3s",
            "--batch-size",
            "20",
        ];
        let child = self
            .command(version, &[&["relay", "--to", &to], &limits[..]].concat())
            .stderr(Stdio::null())
            .spawn()
            .expect("the relay starts");
        Relay { name, child }
    }

    /// Waits until a relay publishes an event, after a mark.
    pub(crate) fn publishes(&self, relay: &Relay, mark: usize) {
        let name = &relay.name;
        self.endpoint
            .wait(&format!("an event of {name}"), mark, |arrival| {
                arrival.accepted && arrival.relay == *name
            });
    }

    pub(crate) fn end(&self, relay: Relay, kills: bool) {
        if kills {
            self.killed.borrow_mut().insert(relay.name.clone());
            drop(relay);
        } else {
            relay.terminate();
        }
    }

    /// Waits until the new command lists all these dead letters, and no other ones.
    pub(crate) fn lists(&self, expected: &[EventId]) {
        let expected: HashSet<EventId> = expected.iter().copied().collect();
        let start = Instant::now();
        loop {
            let list = self.done(Version::New, &["dlq", "list", "--json", "--limit", "1000"]);
            let listed: HashSet<EventId> = list.lines().map(id).collect();
            if listed == expected {
                return;
            }
            let limit = Duration::from_secs(60);
            assert!(
                start.elapsed() < limit,
                "{listed:?}, but refused: {expected:?}"
            );
        }
    }

    /// Replays a dead letter with the new command. A relay of the version delivers it.
    pub(crate) fn replays(&self, dead_letter: EventId, version: Version) {
        let mark = self.endpoint.mark();
        self.done(Version::New, &["dlq", "replay", &dead_letter.to_string()]);
        let arrived = self.endpoint.wait("a replayed event", mark, |arrival| {
            arrival.accepted && arrival.id == dead_letter
        });
        assert!(version.has(&arrived.relay), "{arrived:?}, not {version:?}");
    }

    /// Asserts that all events were delivered, in order per key, and twice only if a relay was killed.
    pub(crate) fn assert_delivered(&self, expected: &HashSet<EventId>) {
        let mut relays: HashMap<EventId, Vec<String>> = HashMap::new();
        let mut latest: HashMap<String, u64> = HashMap::new();
        let arrivals = self.endpoint.arrivals().into_iter();
        for arrival in arrivals.filter(|arrival| arrival.accepted) {
            let before = relays.entry(arrival.id).or_default();
            if before.is_empty() {
                assert_next(&arrival, &mut latest);
            }
            before.push(arrival.relay);
        }
        let delivered: HashSet<EventId> = relays.keys().copied().collect();
        assert_eq!(&delivered, expected);
        let killed = self.killed.borrow();
        let mut duplicates = 0;
        for (id, relays) in &relays {
            let (last, lost) = relays.split_last().expect("an arrival");
            duplicates += lost.len();
            let are_killed = lost.iter().all(|relay| killed.contains(relay));
            assert!(
                are_killed,
                "{id} came again from {last}, after {lost:?}; killed: {killed:?}"
            );
        }
        println!("{} events, {duplicates} duplicates", delivered.len());
    }
}

/// Asserts that an event is the next one of its key.
fn assert_next(arrival: &Arrival, latest: &mut HashMap<String, u64>) {
    let Some(key) = &arrival.key else { return };
    let number: u64 = serde_json::from_slice(&arrival.body).expect("a number");
    let before = latest.insert(key.clone(), number).unwrap_or(0);
    assert_eq!(number, before + 1, "{key} is out of order: {arrival:?}");
}

/// The id of a dead letter on a line.
fn id(line: &str) -> EventId {
    let line: Value = serde_json::from_str(line).expect("JSON");
    line["event"]["id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("an id")
}
