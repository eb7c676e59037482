//! How tests run the command, and the stores that they run it on.

use outbox_core::{Event, EventId, OutboxStorage, Outcome, Settlement};
use outbox_store_sqlite::rusqlite::{Connection, TransactionBehavior};
use outbox_store_sqlite::{SqliteStore, append};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The store of most tests, in the test's own folder.
pub(crate) const SHOP: &str = "sqlite:shop.db";

/// The command in a folder, with nothing of this process's environment.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outbox"));
    command
        .current_dir(folder)
        .env_clear()
        .args(arguments)
        .stdin(Stdio::null());
    command
}

pub(crate) fn outbox(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments)
        .output()
        .expect("the command runs")
}

/// The stdout of a command that must succeed.
pub(crate) fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = outbox(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// Asserts the exit code of a command that must fail, and that its one message says why.
pub(crate) fn refused(folder: &Path, arguments: &[&str], code: i32, reasons: &[&str]) {
    let output = outbox(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    for reason in reasons {
        assert!(
            errors.contains(reason),
            "{arguments:?} says {errors:?}, not {reason:?}"
        );
    }
    // clap tells its own errors in a paragraph; all others are one line.
    assert!(
        errors.lines().count() == 1 || errors.starts_with("error: "),
        "{arguments:?} says {errors}"
    );
    assert!(output.stdout.is_empty(), "{arguments:?} wrote data");
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The JSON objects, one per line.
pub(crate) fn lines(text: &str) -> Vec<Value> {
    text.lines().map(json).collect()
}

/// What `dlq list` and `dlq export` both say of a dead letter: all but the payload and what is known
/// only with it.
pub(crate) fn described(dead_letter: &Value) -> Value {
    let mut dead_letter = dead_letter.clone();
    for name in ["idempotency_token", "available_at"] {
        dead_letter.as_object_mut().unwrap().remove(name);
    }
    let event = dead_letter["event"].as_object_mut().unwrap();
    for name in ["headers", "payload", "payload_base64", "payload_size"] {
        event.remove(name);
    }
    dead_letter
}

/// A number of `outbox status`.
pub(crate) fn status(folder: &Path, name: &str) -> Value {
    json(&done(folder, &["status", "--json", "--store", SHOP]))[name].clone()
}

pub(crate) fn open(folder: &Path) -> Connection {
    opened(&folder.join("shop.db"))
}

fn opened(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("opened");
    connection
        .busy_timeout(Duration::from_secs(10))
        .expect("set");
    connection
}

/// Migrates the store if need be, and appends events to it.
pub(crate) fn appended(folder: &Path, events: &[Event]) {
    appended_to(folder, "shop", events);
}

/// The same for the store in the file `NAME.db`.
pub(crate) fn appended_to(folder: &Path, name: &str, events: &[Event]) {
    let store = format!("sqlite:{name}.db");
    done(folder, &["migrate", "--store", &store]);
    append_to(folder, name, events);
}

/// The same for a store that is migrated.
pub(crate) fn append_to(folder: &Path, name: &str, events: &[Event]) {
    let mut connection = opened(&folder.join(format!("{name}.db")));
    let tx = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .expect("begun");
    append(&tx, events).expect("appended");
    tx.commit().expect("committed");
}

/// Appends events and quarantines all of them, each with the error.
pub(crate) fn quarantined(folder: &Path, events: &[Event], error: &str) -> Vec<EventId> {
    appended(folder, events);
    blocking(async {
        let store = SqliteStore::open(folder.join("shop.db")).await.unwrap();
        quarantine_all(&store, error).await;
    });
    // The store's thread closes the file after its last handle is gone: only then is it at rest.
    let log = folder.join("shop.db-wal");
    until("a closed file", || !log.exists());
    events.iter().map(|event| event.id).collect()
}

/// Quarantines all that waits, each with the error.
pub(crate) async fn quarantine_all(store: &impl OutboxStorage, error: &str) {
    loop {
        let claim = store
            .claim(
                outbox_core::ClaimLimit::events(10_000),
                Duration::from_secs(60),
            )
            .await
            .unwrap();
        if claim.events.is_empty() {
            break;
        }
        let reason = || error.into();
        let dead: Vec<Settlement> = claim
            .events
            .iter()
            .map(|claimed| Settlement::new(claimed.event.id, Outcome::Dead { reason: reason() }))
            .collect();
        store.settle(claim.token, &dead).await.unwrap();
    }
}

pub(crate) fn blocking<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(work)
}

/// Returns as soon as it is true, and fails if it never is.
pub(crate) fn until(what: &str, mut true_now: impl FnMut() -> bool) {
    let start = Instant::now();
    while !true_now() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
    }
}

/// Events with payloads of `bytes` bytes.
pub(crate) fn large_events(count: usize, bytes: usize) -> Vec<Event> {
    let payload = || vec![b'x'; bytes];
    (0..count)
        .map(|_| Event::new("order.large", payload()))
        .collect()
}

/// Numbered events of a type.
pub(crate) fn events(event_type: &str, count: usize) -> Vec<Event> {
    (1..=count)
        .map(|number| Event::new(event_type, number.to_string()).content_type("application/json"))
        .collect()
}

/// Sends a signal, such as `TERM`.
pub(crate) fn signal(process: &Child, name: &str) {
    let id = process.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &id]).status();
    assert!(sent.unwrap().success());
}

/// A relay that is killed in the end, also when its test fails.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        Self(command.stderr(Stdio::null()).spawn().expect("it starts"))
    }

    /// Asks it to end, and asserts that it does so well.
    pub(crate) fn stop(&mut self) {
        signal(&self.0, "TERM");
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The ids of the events on whole lines of a file; a relay may be writing another.
pub(crate) fn arrived(path: &Path) -> Vec<EventId> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let id = |value: &Value| value["id"].as_str().unwrap().parse().unwrap();
    lines(whole).iter().map(id).collect()
}

/// The ids on stdout, in their order.
pub(crate) fn ids(text: &str) -> Vec<EventId> {
    text.lines()
        .map(|line| line.parse().expect("an id"))
        .collect()
}
