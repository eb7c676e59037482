//! A full disk, and locks of other connections, held once or repeatedly.

use outbox_conformance::{Folder, ManualClock};
use outbox_core::{
    Claim, ClaimLimit, DeadLetterFilter, DeadLetters, DlqEntry, ErrorKind, Event, EventId,
    OutboxError, OutboxStorage, Outcome, QuarantineOutcome, Settlement,
};
use outbox_store_sqlite::rusqlite::{Connection, TransactionBehavior};
use outbox_store_sqlite::{SqliteConfig, SqliteStore, append};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};
use test_servers::{file_on_a_full_disk, on_a_full_disk};

const LEASE: Duration = Duration::from_secs(30);

/// How many events one append has.
const BATCH: u128 = 50;

fn events(count: usize) -> Vec<Event> {
    (0..count).map(|_| Event::new("fault", "x")).collect()
}

fn published(claim: &Claim) -> Vec<Settlement> {
    let settlement = |id| Settlement::new(id, Outcome::Published);
    ids(claim).into_iter().map(settlement).collect()
}

fn ids(claim: &Claim) -> Vec<EventId> {
    claim.events.iter().map(|one| one.event.id).collect()
}

#[track_caller]
fn unavailable<T>(result: Result<T, OutboxError>) {
    let error = result.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

async fn impatient(path: &Path) -> SqliteStore {
    let config = SqliteConfig::new(path).busy_timeout(Duration::from_millis(1));
    let store = SqliteStore::migrate(config).await;
    store
        .expect("migrated")
        .with_clock(ManualClock::new().clock())
}

fn connect(path: &Path, patience: Duration) -> Connection {
    let connection = Connection::open(path).expect("opened");
    connection.busy_timeout(patience).expect("set");
    connection
}

fn add(connection: &mut Connection, events: &[Event]) {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let tx = tx.expect("begun");
    append(&tx, events).expect("appended");
    tx.commit().expect("committed");
}

fn entry(id: EventId) -> [DlqEntry; 1] {
    let now = SystemTime::UNIX_EPOCH;
    [DlqEntry::new(id, 3, now, now)]
}

/// Another connection holds the lock. The first of the events is in the quarantine.
async fn assert_only_reads_work(store: &SqliteStore, claim: &Claim, events: &[Event]) {
    let all = DeadLetterFilter::all();
    unavailable(store.claim(ClaimLimit::events(1), LEASE).await);
    unavailable(store.settle(claim.token, &published(claim)).await);
    unavailable(store.quarantine_events(&entry(events[2].id)).await);
    unavailable(store.replay(&all, 10).await);
    unavailable(store.purge(&all, 10).await);
    assert_eq!(store.list(&all, None, 10).await.expect("listed").len(), 1);
    assert!(store.find(events[0].id).await.expect("found").is_some());
    assert_eq!(store.statistics(&all, 10).await.expect("read").len(), 1);
}

#[tokio::test]
async fn while_another_connection_has_the_lock_each_write_fails_whole() {
    let folder = Folder::new();
    let path = folder.path().join("shop.db");
    let store = impatient(&path).await;
    let mut producer = connect(&path, Duration::from_millis(1));
    let other = connect(&path, LEASE);
    for _round in 0..20 {
        let three = events(3);
        add(&mut producer, &three);
        let moved = store.quarantine_events(&entry(three[0].id)).await;
        assert_eq!(moved.expect("moved"), [QuarantineOutcome::Moved]);
        let claim = store
            .claim(ClaimLimit::events(1), LEASE)
            .await
            .expect("claimed");
        assert_eq!(ids(&claim), [three[1].id]);
        let before = store.backlog().await.expect("read");
        assert_eq!(
            (before.pending, before.in_flight, before.dead_letters),
            (2, 1, 1)
        );

        other.execute_batch("BEGIN IMMEDIATE").expect("locked");
        let tx = producer.transaction().expect("begun");
        unavailable(append(&tx, &events(2)));
        tx.rollback().expect("rolled back");
        assert_only_reads_work(&store, &claim, &three).await;
        assert_eq!(store.backlog().await.expect("read"), before);
        other.execute_batch("ROLLBACK").expect("unlocked");

        assert_eq!(store.backlog().await.expect("read"), before);
        let settled = store.settle(claim.token, &published(&claim)).await;
        settled.expect("settled");
        let moved = store.quarantine_events(&entry(three[2].id)).await;
        assert_eq!(moved.expect("moved"), [QuarantineOutcome::Moved]);
        let purged = store.purge(&DeadLetterFilter::all(), 10).await;
        assert_eq!(purged.expect("purged").len(), 2);
    }
}

/// Runs one transaction for each call that it meets.
fn rage(other: &Connection, met: &Receiver<()>) {
    while met.recv().is_ok() {
        let held = "BEGIN IMMEDIATE; INSERT INTO storm WITH RECURSIVE n(x) AS
                    (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 5000)
                    SELECT x FROM n; COMMIT";
        other.execute_batch(held).expect("written");
    }
}

/// Makes a call that meets a transaction of the other connection, and repeats it until it succeeds.
async fn through<T>(
    meet: &SyncSender<()>,
    refused: &mut usize,
    call: impl AsyncFn() -> Result<T, OutboxError>,
) -> T {
    meet.send(()).expect("met");
    loop {
        match call().await {
            Ok(done) => return done,
            error => unavailable(error),
        }
        *refused += 1;
    }
}

/// Each call meets one transaction of another thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_many_locks_each_event_is_settled_once() {
    let folder = Folder::new();
    let path = folder.path().join("shop.db");
    let store = impatient(&path).await;
    let (mut producer, other) = (connect(&path, LEASE), connect(&path, LEASE));
    other.execute_batch("CREATE TABLE storm(x)").expect("made");
    let (meet, met) = sync_channel(0);
    let storm = std::thread::spawn(move || rage(&other, &met));
    let (mut appended, mut settled, mut refused) = (Vec::new(), Vec::new(), 0);
    while settled.len() < 100 || refused < 20 || settled.len() < appended.len() {
        if settled.len() == appended.len() {
            let more = events(10);
            add(&mut producer, &more);
            appended.extend(more.iter().map(|event| event.id));
        }
        let claim = through(&meet, &mut refused, async || {
            store.claim(ClaimLimit::events(5), LEASE).await
        })
        .await;
        assert!(!claim.events.is_empty(), "an event is missing");
        let settle = async || store.settle(claim.token, &published(&claim)).await;
        through(&meet, &mut refused, settle).await;
        settled.extend(ids(&claim));
    }
    drop(meet);
    storm.join().expect("over");
    println!("{} settled, {refused} refused", settled.len());
    appended.sort_unstable();
    settled.sort_unstable();
    assert_eq!(settled, appended);
    assert_eq!(store.backlog().await.expect("read").pending, 0);
}

fn numbered(number: u128) -> EventId {
    EventId::from(uuid::Uuid::from_u128(number))
}

/// Appends the events from `first` on in one transaction.
fn add_batch(connection: &mut Connection, first: u128) -> Result<(), OutboxError> {
    let event = |n| Event::new("fault", "x".repeat(800)).id(numbered(n));
    let batch: Vec<Event> = (first..first + BATCH).map(event).collect();
    let failed = |error| OutboxError::new(ErrorKind::Unavailable, "test", "tx").with_source(error);
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let tx = tx.map_err(failed)?;
    append(&tx, &batch)?;
    tx.commit().map_err(failed)
}

#[tokio::test]
#[ignore = "run by the next test, in a process whose files cannot grow"]
async fn a_child_works_until_the_disk_is_full() {
    let path = file_on_a_full_disk().expect("a file");
    let store = SqliteStore::open(SqliteConfig::new(&path))
        .await
        .expect("opened");
    let store = store.with_clock(ManualClock::new().clock());
    let mut producer = connect(Path::new(&path), LEASE);
    let (mut appended, mut settled, mut refused, mut settlements_refused) = (0, 0, 0, 0);
    let mut held: Option<Claim> = None;
    // Refused calls are repeated with the same ids and the same claim.
    while refused < 6 {
        let mut note = |result: Result<(), OutboxError>| {
            let done = result.is_ok();
            if !done {
                unavailable(result);
                refused += 1;
            }
            done
        };
        if note(add_batch(&mut producer, appended)) {
            appended += BATCH;
        }
        if held.is_none() {
            let claimed = store.claim(ClaimLimit::events(10), LEASE).await;
            held = claimed.map_err(|error| note(Err(error))).ok();
        }
        if let Some(claim) = &held {
            if note(store.settle(claim.token, &published(claim)).await) {
                settled += claim.events.len();
                held = None;
            } else {
                settlements_refused += 1;
            }
        }
    }
    // If this fails because only claims met the full disk, change the limit of the disk.
    assert!(settlements_refused > 0, "no settlement was refused");
    println!("appended {appended}. settled {settled}.");
}

/// How many events a process with a limit on its files appended and settled.
fn work_until_the_disk_is_full(path: &Path) -> (u128, u128) {
    let output = on_a_full_disk("a_child_works_until_the_disk_is_full", path, 300);
    let count = |name: &str| -> Option<u128> {
        let rest = output.split(name).nth(1)?;
        rest.split('.').next()?.parse().ok()
    };
    let (appended, settled) = (count("appended "), count(" settled "));
    (appended.expect("read"), settled.expect("read"))
}

#[tokio::test]
async fn a_full_disk_refuses_whole_calls_and_loses_no_event() {
    let folder = Folder::new();
    let path = folder.path().join("shop.db");
    let clock = ManualClock::new();
    let store = SqliteStore::migrate(&path).await.expect("migrated");
    let store = store.with_clock(clock.clock());
    let (appended, settled) = work_until_the_disk_is_full(&path);
    assert!(settled > 0, "the disk was full from the start");
    println!("{appended} appended, {settled} settled");
    clock.advance(LEASE);
    let mut left = Vec::new();
    loop {
        let claim = store
            .claim(ClaimLimit::events(100), LEASE)
            .await
            .expect("claimed");
        if claim.events.is_empty() {
            break;
        }
        let done = store.settle(claim.token, &published(&claim)).await;
        done.expect("settled");
        left.extend(ids(&claim));
    }
    // The child settles in the order of the numbers, so these events remain.
    left.sort_unstable();
    let expected: Vec<EventId> = (settled..appended).map(numbered).collect();
    assert_eq!(left, expected);
}
