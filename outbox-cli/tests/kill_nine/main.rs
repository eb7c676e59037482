//! Repeated `kill -9`, and other signals, while a producer appends.

mod postgres;
mod producer;
#[cfg(unix)]
mod signals;
mod sqlite;

use outbox_core::{Backlog, EventId};
use producer::{Append, produce};
use serde_json::Value;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const BATCH: usize = 20;

fn outbox(folder: &Path, store: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outbox"));
    command
        .current_dir(folder)
        .args(arguments)
        .args(["--store", store]);
    command
}

/// How many relays work at once. They write to one file, in the order of their writes.
#[derive(Clone, Copy)]
enum Fleet {
    One,
    Three,
}

impl Fleet {
    fn size(self) -> usize {
        match self {
            Self::One => 1,
            Self::Three => 3,
        }
    }

    fn relay(self, folder: &Path, store: &str, more: &[&str]) -> Child {
        let batch = BATCH.to_string();
        let mut command = outbox(folder, store, &["relay"]);
        match self {
            Self::One => command.args(["--to", "file:events.ndjson"]),
            Self::Three => {
                let mut options = File::options();
                let file = options.create(true).append(true);
                let file = file.open(folder.join("events.ndjson"));
                command
                    .args(["--to", "stdout://"])
                    .stdout(file.expect("a file"))
            }
        }
        .args(["--lease", "400ms", "--publish-timeout", "200ms"])
        .args(["--batch-size", &batch])
        .args(more)
        .spawn()
        .expect("the relay starts")
    }
}

fn migrate(folder: &Path, store: &str) {
    let status = outbox(folder, store, &["migrate"]).status();
    assert!(status.expect("the command runs").success());
}

/// Asserts the order per key of first arrivals, and gives back what arrived and how often.
fn read(path: &Path) -> HashMap<EventId, usize> {
    let mut arrivals: HashMap<EventId, usize> = HashMap::new();
    let mut latest: HashMap<String, u64> = HashMap::new();
    for line in std::fs::read_to_string(path).expect("the file").lines() {
        // A relay that follows one that was killed within a line continues in that line.
        let line = &line[line.rfind("{\"id\":").expect("an event")..];
        let value: Value = serde_json::from_str(line).expect("a whole line");
        let id = value["id"].as_str().expect("an id").parse().expect("an id");
        let count = arrivals.entry(id).or_default();
        *count += 1;
        if *count == 1 {
            let key = value["key"].as_str().expect("a key").to_owned();
            let number = value["payload"].as_u64().expect("a number");
            let before = latest.insert(key.clone(), number).unwrap_or(0);
            assert_eq!(number, before + 1, "{key} is out of order");
        }
    }
    arrivals
}

/// Lets a producer append while relays are disturbed, then drains the store. Asserts that each committed event
/// has arrived, in order, and returns how many arrived twice. What is left in the store is for the caller to
/// look at.
fn under_load(
    folder: &Path,
    store: &str,
    fleet: Fleet,
    append: Append,
    disturb: impl FnOnce(),
) -> usize {
    let stop = Arc::new(AtomicBool::new(false));
    let producer = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || produce(append, &stop))
    };
    disturb();
    stop.store(true, Ordering::SeqCst);
    let committed = producer.join().expect("the producer");
    let drained = fleet.relay(folder, store, &["--drain"]).wait();
    assert!(drained.expect("ended").success());

    let arrivals = read(&folder.join("events.ndjson"));
    let arrived: HashSet<EventId> = arrivals.keys().copied().collect();
    assert_eq!(arrived, committed);
    let duplicates = arrivals.values().map(|count| count - 1).sum();
    println!("{} events, {duplicates} duplicates", committed.len());
    duplicates
}

/// Pauses for a time that is arbitrary; nothing that is asserted depends on it.
fn pause(seed: &mut u64) {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    std::thread::sleep(Duration::from_millis(20 + (*seed >> 33) % 250));
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Kills relays on the store, one by one, at random moments while `append` fills it.
fn kill(folder: &TempDir, store: &str, fleet: Fleet, kills: usize, append: Append) {
    let folder = folder.path();
    let duplicates = under_load(folder, store, fleet, append, || {
        let mut seed = SEED;
        let start = || fleet.relay(folder, store, &[]);
        let mut relays: VecDeque<Child> = (1..fleet.size()).map(|_| start()).collect();
        for _ in 0..kills {
            relays.push_back(start());
            pause(&mut seed);
            end(relays.pop_front().expect("a relay"));
        }
        relays.into_iter().for_each(end);
    });
    // One kill repeats at most the claim that it interrupted.
    let kills = kills + fleet.size() - 1;
    assert!(duplicates <= kills * BATCH, "{duplicates} duplicates");
}

fn end(mut relay: Child) {
    relay.kill().expect("killed");
    relay.wait().expect("reaped");
}

fn assert_empty(backlog: &Backlog) {
    let left = (backlog.pending, backlog.dead_letters);
    assert_eq!(left, (0, 0), "a false dead letter");
}
