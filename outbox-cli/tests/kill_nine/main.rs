//! Repeated `kill -9` of the relay while a producer appends.

mod postgres;
mod sqlite;

use outbox_core::{Backlog, Event, EventId};
use serde_json::Value;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const KEYS: usize = 13;
const BATCH: usize = 20;

/// Appends events in a transaction and commits it, or rolls it back.
type Append = Box<dyn FnMut(&[Event], bool) + Send>;

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

/// Appends numbered events, a few a transaction, until told to stop; some are rolled back.
fn produce(mut append: Append, stop: &AtomicBool) -> HashSet<EventId> {
    let mut numbers = [0_u64; KEYS];
    let mut committed = HashSet::new();
    for turn in 0_usize.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let key = turn % KEYS;
        let event = |number| {
            Event::new("test.numbered", format!("{number}"))
                .content_type("application/json")
                .ordering_key(format!("key-{key}"))
        };
        let events: Vec<Event> = (1..=3).map(|step| event(numbers[key] + step)).collect();
        let commit = turn % 10 != 9;
        append(&events, commit);
        if commit {
            numbers[key] += 3;
            committed.extend(events.iter().map(|event| event.id));
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    committed
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

/// Kills relays on the store, one by one, at random moments while `append` fills it, then drains it.
/// What is left in the store is for the caller to look at.
fn kill(folder: &TempDir, store: &str, fleet: Fleet, kills: usize, append: Append) {
    let folder = folder.path();
    let stop = Arc::new(AtomicBool::new(false));
    let producer = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || produce(append, &stop))
    };
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let start = || fleet.relay(folder, store, &[]);
    let mut relays: VecDeque<Child> = (1..fleet.size()).map(|_| start()).collect();
    for _ in 0..kills {
        relays.push_back(start());
        // The moment of the kill is arbitrary; nothing that is asserted depends on it.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(20 + (seed >> 33) % 250));
        end(relays.pop_front().expect("a relay"));
    }
    stop.store(true, Ordering::SeqCst);
    let committed = producer.join().expect("the producer");
    relays.into_iter().for_each(end);
    let drained = fleet.relay(folder, store, &["--drain"]).wait();
    assert!(drained.expect("ended").success());

    let arrivals = read(&folder.join("events.ndjson"));
    let arrived: HashSet<EventId> = arrivals.keys().copied().collect();
    assert_eq!(arrived, committed);
    let duplicates: usize = arrivals.values().map(|count| count - 1).sum();
    println!(
        "{} events, {kills} kills, {duplicates} duplicates",
        committed.len()
    );
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

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}
