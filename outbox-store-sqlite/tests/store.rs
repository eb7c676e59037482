//! What is particular to this store; the contract is checked by `conformance.rs`.

use outbox_conformance::ManualClock;
use outbox_core::{
    Claim, ClaimToken, DeadLetterFilter, DeadLetters, DlqEntry, ErrorKind, ErrorText, Event,
    EventId, OutboxStorage, Outcome, QuarantineOutcome, Settlement,
};
use outbox_store_sqlite::rusqlite::{Connection, TransactionBehavior};
use outbox_store_sqlite::{SqliteOutbox, append};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const LEASE: Duration = Duration::from_secs(30);

struct Place {
    _folder: TempDir,
    path: PathBuf,
    clock: ManualClock,
    store: SqliteOutbox,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        let clock = ManualClock::new();
        let store = SqliteOutbox::migrate(&path).await.unwrap();
        let store = store.with_clock(clock.clock());
        Self {
            _folder: folder,
            path,
            clock,
            store,
        }
    }

    fn connect(&self) -> Connection {
        let connection = Connection::open(&self.path).unwrap();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        connection
    }

    fn append(&self, events: &[Event]) {
        let mut connection = self.connect();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .unwrap();
        append(&transaction, events).unwrap();
        transaction.commit().unwrap();
    }

    fn execute(&self, sql: &str) {
        self.connect().execute_batch(sql).unwrap();
    }

    fn number(&self, sql: &str) -> i64 {
        self.connect().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    async fn claim(&self, limit: usize) -> Claim {
        self.store.claim(limit, LEASE).await.unwrap()
    }

    async fn settle_all(&self, claim: &Claim, outcome: &Outcome) {
        let settlements = all(claim, outcome);
        self.store.settle(claim.token, &settlements).await.unwrap();
    }
}

fn all(claim: &Claim, outcome: &Outcome) -> Vec<Settlement> {
    claim
        .events
        .iter()
        .map(|claimed| Settlement::new(claimed.event.id, outcome.clone()))
        .collect()
}

fn ids(claim: &Claim) -> Vec<EventId> {
    claim
        .events
        .iter()
        .map(|claimed| claimed.event.id)
        .collect()
}

fn keyed(key: &str) -> Event {
    Event::new("t", "x").ordering_key(key)
}

fn retry(delay: Duration) -> Outcome {
    let error = ErrorText::new("refused");
    Outcome::Retry { delay, error }
}

fn entry(id: EventId) -> DlqEntry {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
    DlqEntry::new(id, 7, now, now + Duration::from_secs(1))
}

#[tokio::test]
async fn an_append_that_is_rolled_back_is_never_claimed() {
    let place = Place::new().await;
    let mut connection = place.connect();
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    append(&transaction, &[keyed("a")]).unwrap();
    transaction.rollback().unwrap();
    assert!(place.claim(10).await.events.is_empty());
    place.append(&[keyed("a")]);
    assert_eq!(place.claim(10).await.events.len(), 1);
}

#[tokio::test]
async fn a_plain_insert_is_an_append() {
    let place = Place::new().await;
    place.execute(
        "INSERT INTO outbox_events (event_type, payload) VALUES ('order.placed', '{\"n\":1}');
         INSERT INTO outbox_events (event_type, payload, headers, ordering_key)
         VALUES ('order.paid', x'00ff', '{\"n\":1,\"list\":[1, \"a\"],\"text\":\"é\\u0000\"}', '')",
    );
    let claim = place.claim(10).await;
    let [placed, paid] = &claim.events[..] else {
        panic!("{claim:?}")
    };
    assert_eq!(placed.event.event_type, "order.placed");
    assert_eq!(&placed.event.payload[..], b"{\"n\":1}");
    assert_eq!(placed.event.content_type, "application/json");
    assert!(placed.event.headers.is_empty());
    assert_eq!(placed.event.ordering_key, None);
    let age = SystemTime::now().duration_since(placed.event.created_at);
    assert!(age.unwrap_or_default() < Duration::from_secs(60));
    assert_eq!(&paid.event.payload[..], b"\x00\xff");
    assert_eq!(paid.event.ordering_key.as_deref(), Some(""));
    assert_eq!(paid.event.headers["n"], "1");
    assert_eq!(paid.event.headers["list"], "[1, \"a\"]");
    assert_eq!(paid.event.headers["text"], "é\0");
}

#[tokio::test]
async fn a_row_that_breaks_the_table_s_rules_is_refused() {
    let place = Place::new().await;
    let connection = place.connect();
    for values in [
        "(event_type, payload) VALUES ('', 'x')",
        "(event_type, payload) VALUES ('t', 1)",
        "(event_type, payload) VALUES ('t', NULL)",
        "(event_type, payload, id) VALUES ('t', 'x', x'00')",
        "(event_type, payload, headers) VALUES ('t', 'x', '[]')",
        "(event_type, payload, headers) VALUES ('t', 'x', 'no')",
        "(event_type, payload, seq) VALUES ('t', 'x', 0)",
    ] {
        let insert = format!("INSERT INTO outbox_events {values}");
        assert!(connection.execute(&insert, []).is_err(), "{values}");
    }
    assert_eq!(place.number("SELECT count(*) FROM outbox_events"), 0);
}

#[tokio::test]
async fn an_append_that_fails_leaves_the_transaction_without_its_events() {
    let place = Place::new().await;
    let mut connection = place.connect();
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    let (first, second) = (keyed("a"), keyed("b"));
    append(&transaction, std::slice::from_ref(&first)).unwrap();
    let error = append(&transaction, &[second.clone(), first.clone()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Duplicate, "{}", error.report());
    let error = append(&transaction, &[second, Event::new("", "x")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.report());
    transaction.commit().unwrap();
    assert_eq!(ids(&place.claim(10).await), [first.id]);
}

#[tokio::test]
async fn a_token_stays_taken_after_its_event_was_published_until_it_is_cleaned_up() {
    let place = Place::new().await;
    let event = || keyed("a").idempotency_token("once");
    place.append(&[event()]);
    let claim = place.claim(1).await;
    place.settle_all(&claim, &Outcome::Published).await;
    let mut connection = place.connect();
    let transaction = connection.transaction().unwrap();
    let error = append(&transaction, &[event()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Duplicate, "{}", error.report());
    drop(transaction);

    let today = place.store.clone().with_clock(outbox_core::Clock::system());
    assert_eq!(today.clean_up(10).await.unwrap(), 0);
    let later = || SystemTime::now() + Duration::from_secs(8 * 24 * 60 * 60);
    let next_week = today.with_clock(outbox_core::Clock::new(later));
    assert_eq!(next_week.clean_up(10).await.unwrap(), 1);
    place.append(&[event()]);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_quarantined_and_its_neighbours_go_on() {
    let place = Place::new().await;
    place.execute(
        "INSERT INTO outbox_events (event_type, payload, ordering_key) VALUES ('a', '1', 'k');
         INSERT INTO outbox_events (event_type, payload, ordering_key)
         VALUES (CAST(x'6bff' AS TEXT), '2', 'k');
         INSERT INTO outbox_events (event_type, payload, headers)
         VALUES ('h', '3', '{\"x\":\"\\ud800\"}');
         INSERT INTO outbox_events (event_type, payload, ordering_key) VALUES ('b', '4', 'k');",
    );
    let claim = place.claim(10).await;
    let types: Vec<_> = claim
        .events
        .iter()
        .map(|c| &c.event.event_type[..])
        .collect();
    assert_eq!(types, ["a", "b"]);
    place.settle_all(&claim, &Outcome::Published).await;
    let letters = place
        .store
        .list(&DeadLetterFilter::all(), None, 10)
        .await
        .unwrap();
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0].event.event_type, "k\u{fffd}");
    assert_eq!(&letters[0].event.payload[..], b"2");
    assert_eq!(letters[1].event.event_type, "h");
    let reason = letters[1].last_error.as_ref().unwrap();
    assert!(reason.contains("cannot be read"), "{reason}");
    let groups = place
        .store
        .statistics(&DeadLetterFilter::all(), 10)
        .await
        .unwrap();
    assert_eq!(groups.len(), 2);
}

#[tokio::test]
async fn an_unreadable_head_of_a_waiting_key_gives_way_to_the_next_event() {
    let place = Place::new().await;
    let (first, second) = (keyed("k"), keyed("k"));
    place.append(&[first, second.clone()]);
    let claim = place.claim(1).await;
    place
        .settle_all(&claim, &retry(Duration::from_secs(1)))
        .await;
    place.execute("UPDATE outbox_events SET headers = '{\"x\":\"\\ud800\"}' WHERE seq = 1");
    assert!(place.claim(10).await.events.is_empty());
    place.clock.advance(Duration::from_secs(1));
    let claim = place.claim(10).await;
    assert_eq!(ids(&claim), [second.id]);
    assert_eq!(claim.events[0].attempts, 0);
}

#[tokio::test]
async fn a_long_run_of_held_keys_hides_no_event_behind_it() {
    let place = Place::new().await;
    let run: Vec<_> = (0..2_500).map(|_| keyed("held")).collect();
    let other = keyed("other");
    place.append(&run);
    place.append(std::slice::from_ref(&other));
    let held = place.claim(1).await;
    assert_eq!(ids(&place.claim(10).await), [other.id]);
    place.settle_all(&held, &Outcome::Published).await;
    let rest = place.claim(5_000).await;
    assert_eq!(rest.events.len(), 2_499);
    assert!(
        rest.events
            .iter()
            .zip(&run[1..])
            .all(|(claimed, event)| claimed.event.id == event.id)
    );
}

#[tokio::test]
async fn a_lost_claim_is_taken_over_one_event_at_a_time() {
    let place = Place::new().await;
    let events = [keyed("a"), keyed("a"), keyed("b")];
    place.append(&events);
    let lost = place.claim(10).await;
    place.clock.advance(LEASE);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let claim = place.claim(10).await;
        assert_eq!(claim.events.len(), 1);
        assert!(!claim.events[0].worker_lost);
        seen.extend(ids(&claim));
        place.settle_all(&claim, &Outcome::Published).await;
    }
    let a: Vec<_> = seen.iter().filter(|id| **id != events[2].id).collect();
    assert_eq!(a, [&events[0].id, &events[1].id]);
    let settlements = all(&lost, &Outcome::Published);
    let error = place
        .store
        .settle(lost.token, &settlements)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert_eq!(place.store.backlog().await.unwrap().pending, 0);
    assert_eq!(place.number("SELECT count(*) FROM outbox_keys"), 0);
}

#[tokio::test]
async fn an_event_that_was_alone_in_a_lost_claim_is_flagged_until_it_is_charged() {
    let place = Place::new().await;
    place.append(&[keyed("a"), keyed("a")]);
    place.claim(1).await;
    place.clock.advance(LEASE);
    let claim = place.claim(10).await;
    assert_eq!(claim.events.len(), 1);
    assert!(claim.events[0].worker_lost);
    place.settle_all(&claim, &retry(Duration::ZERO)).await;
    let claim = place.claim(10).await;
    assert_eq!(
        (claim.events[0].attempts, claim.events[0].worker_lost),
        (1, false)
    );
    place.settle_all(&claim, &Outcome::Published).await;
    let claim = place.claim(10).await;
    assert_eq!(
        (claim.events[0].attempts, claim.events[0].worker_lost),
        (0, false)
    );
}

#[tokio::test]
async fn a_settlement_must_name_exactly_the_events_of_the_claim() {
    let place = Place::new().await;
    place.append(&[keyed("a"), keyed("b"), keyed("c")]);
    let claim = place.claim(2).await;
    let good = all(&claim, &Outcome::Published);
    let foreign = Settlement::new(EventId::new(), Outcome::Published);
    for bad in [
        vec![],
        good[..1].to_vec(),
        vec![good[0].clone(), good[0].clone()],
        vec![good[0].clone(), good[1].clone(), good[1].clone()],
        vec![good[0].clone(), foreign.clone()],
    ] {
        let error = place.store.settle(claim.token, &bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.report());
    }
    place.store.settle(claim.token, &good).await.unwrap();
    let again = place.store.settle(claim.token, &good).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::LeaseLost);
    let unknown = place
        .store
        .settle(ClaimToken::new(), &good)
        .await
        .unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::LeaseLost);
    assert_eq!(place.claim(10).await.events.len(), 1);
}

#[tokio::test]
async fn a_quarantine_answers_for_each_entry_and_lets_the_successor_go_on() {
    let place = Place::new().await;
    let (poison, next, busy) = (keyed("a"), keyed("a"), keyed("b"));
    place.append(&[poison.clone(), next.clone()]);
    let claim = place.claim(1).await;
    place
        .settle_all(&claim, &retry(Duration::from_secs(60)))
        .await;
    place.append(std::slice::from_ref(&busy));
    assert_eq!(ids(&place.claim(1).await), [busy.id]);
    let entries = [
        entry(poison.id),
        entry(busy.id),
        entry(EventId::new()),
        entry(poison.id),
    ];
    let outcomes = place.store.quarantine_events(&entries).await.unwrap();
    use QuarantineOutcome::{Busy, Missing, Moved};
    assert_eq!(outcomes, [Moved, Busy, Missing, Missing]);
    let claim = place.claim(10).await;
    assert_eq!(ids(&claim), [next.id]);
    assert_eq!(claim.events[0].attempts, 0);
    let letter = place.store.find(poison.id).await.unwrap().unwrap();
    assert_eq!((letter.failure_count, letter.event), (7, truncated(poison)));
}

/// The store keeps microseconds.
fn truncated(event: Event) -> Event {
    let since = event
        .created_at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let micros = u64::try_from(since.as_micros()).unwrap();
    event.created_at(SystemTime::UNIX_EPOCH + Duration::from_micros(micros))
}

#[tokio::test]
async fn a_replay_ignores_entries_of_the_earlier_life_and_names_what_it_cannot_move() {
    let place = Place::new().await;
    let event = keyed("a").idempotency_token("once");
    place.append(std::slice::from_ref(&event));
    place
        .store
        .quarantine_events(&[entry(event.id)])
        .await
        .unwrap();
    let all = DeadLetterFilter::ids([event.id, EventId::new()]);
    assert_eq!(place.store.replay(&all, 10).await.unwrap(), [event.id]);
    let stale = place
        .store
        .quarantine_events(&[entry(event.id)])
        .await
        .unwrap();
    assert_eq!(stale, [QuarantineOutcome::Missing]);
    let claim = place.claim(10).await;
    assert_eq!(claim.events[0].attempts, 0);
    place
        .settle_all(&claim, &retry(Duration::from_secs(9)))
        .await;
    let fresh = place
        .store
        .quarantine_events(&[entry(event.id)])
        .await
        .unwrap();
    assert_eq!(fresh, [QuarantineOutcome::Moved]);
    assert_eq!(
        place.store.find(event.id).await.unwrap().unwrap().replays,
        1
    );

    place.append(&[keyed("a").id(event.id)]);
    let error = place.store.replay(&all, 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(
        error.report().contains(&event.id.to_string()),
        "{}",
        error.report()
    );
    assert_eq!(place.store.purge(&all, 10).await.unwrap(), [event.id]);
}

#[tokio::test]
async fn a_delayed_event_and_its_successors_wait_for_its_time() {
    let place = Place::new().await;
    let due = place.clock.clock().now() + Duration::from_secs(60);
    let (delayed, next) = (keyed("a").available_at(due), keyed("a"));
    place.append(&[
        delayed.clone(),
        next.clone(),
        Event::new("t", "x").available_at(due),
    ]);
    assert!(place.claim(10).await.events.is_empty());
    assert_eq!(place.store.backlog().await.unwrap().waiting, 2);
    place.clock.advance(Duration::from_secs(60));
    let claim = place.claim(10).await;
    assert_eq!(claim.events.len(), 3);
    assert_eq!(ids(&claim)[..2], [delayed.id, next.id]);
}

#[tokio::test]
async fn sixteen_megabytes_and_odd_headers_come_back_exactly() {
    let place = Place::new().await;
    let payload: Vec<u8> = (0..16 << 20)
        .map(|n: u32| n.to_le_bytes()[1] ^ n.to_le_bytes()[0])
        .collect();
    let event = Event::new("big", payload)
        .header("", "")
        .header("a\0\"\\ é\n", "\u{1}{}")
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        );
    place.append(std::slice::from_ref(&event));
    let claim = place.claim(1).await;
    assert_eq!(claim.events[0].event, truncated(event));
}

#[tokio::test]
async fn waiting_ends_when_another_connection_commits() {
    let place = Place::new().await;
    let store = place.store.clone();
    let waiter = tokio::spawn(async move {
        let start = std::time::Instant::now();
        store.wait_for_work(Duration::from_secs(300)).await.unwrap();
        start.elapsed()
    });
    place.append(&[keyed("a")]);
    assert!(waiter.await.unwrap() < Duration::from_secs(60));
    let claim = place.claim(10).await;
    assert_eq!(claim.events.len(), 1);
    // With nothing to do it ends by itself.
    place
        .store
        .wait_for_work(Duration::from_millis(1))
        .await
        .unwrap();
}

#[tokio::test]
async fn files_that_are_not_an_outbox_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let refused = |result: Result<SqliteOutbox, outbox_core::OutboxError>, hint: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.report());
        assert!(error.report().contains(hint), "{}", error.report());
    };
    refused(SqliteOutbox::open(path("missing.db")).await, "missing.db");
    assert!(!path("missing.db").exists());
    std::fs::write(
        path("text.db"),
        "not a database, but long enough to be looked at".repeat(40),
    )
    .unwrap();
    refused(SqliteOutbox::open(path("text.db")).await, "text.db");
    Connection::open(path("empty.db"))
        .unwrap()
        .execute_batch("CREATE TABLE x(y)")
        .unwrap();
    refused(SqliteOutbox::open(path("empty.db")).await, "migrate");
    Connection::open(path("foreign.db"))
        .unwrap()
        .execute_batch("CREATE TABLE outbox_events(y)")
        .unwrap();
    refused(
        SqliteOutbox::migrate(path("foreign.db")).await,
        "outbox_events",
    );
    SqliteOutbox::migrate(path("newer.db")).await.unwrap();
    SqliteOutbox::migrate(path("newer.db")).await.unwrap();
    SqliteOutbox::open(path("newer.db")).await.unwrap();
    Connection::open(path("newer.db"))
        .unwrap()
        .execute_batch("UPDATE outbox_schema SET version = 99")
        .unwrap();
    refused(SqliteOutbox::open(path("newer.db")).await, "newer");
    refused(SqliteOutbox::migrate(path("newer.db")).await, "newer");
}

/// Eight producers with connections of their own roll a third back; two workers drain meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_writers_commit_is_claimed_once_and_in_the_order_of_each_key() {
    const WRITERS: usize = 8;
    let place = Place::new().await;
    place.execute("CREATE TABLE counter (key TEXT PRIMARY KEY, n INTEGER)");
    let barrier = Arc::new(Barrier::new(WRITERS));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (barrier, mut connection) = (Arc::clone(&barrier), place.connect());
            std::thread::spawn(move || {
                barrier.wait();
                (0..ROUNDS).for_each(|round| write(&mut connection, writer + round));
            })
        })
        .collect();
    let kept = (0..WRITERS)
        .flat_map(|writer| (0..ROUNDS).map(move |round| writer + round))
        .filter(|turn| turn % 3 != 1)
        .count()
        * 2;
    let seen = drain(&place, kept).await;
    for writer in writers {
        writer.join().unwrap();
    }
    assert_eq!(place.store.backlog().await.unwrap().pending, 0);
    let unique: HashSet<_> = seen.iter().map(|event| event.id).collect();
    assert_eq!((seen.len(), unique.len()), (kept, kept));
    let mut last: HashMap<&str, i64> = HashMap::new();
    for event in &seen {
        if let Some(key) = &event.ordering_key {
            let number: i64 = event.headers["n"].parse().unwrap();
            let before = last.insert(key, number).unwrap_or(0);
            assert_eq!(number, before + 1, "the order of key {key}");
        }
    }
}

const ROUNDS: usize = 60;

/// One transaction: the next number of a key in a header, and an event without a key.
fn write(connection: &mut Connection, turn: usize) {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    let key = ["a", "b", "c", "d", "e"][turn % 5];
    let number: i64 = transaction
        .query_row(
            "INSERT INTO counter VALUES (?1, 1) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n",
            [key],
            |row| row.get(0),
        )
        .unwrap();
    let event = keyed(key).header("n", number.to_string());
    append(&transaction, &[event, Event::new("lone", "x")]).unwrap();
    if turn % 3 == 1 {
        transaction.rollback().unwrap();
    } else {
        transaction.commit().unwrap();
    }
}

async fn drain(place: &Place, expected: usize) -> Vec<Event> {
    let other = SqliteOutbox::open(&place.path).await.unwrap();
    let stores = [place.store.clone(), other.with_clock(place.clock.clock())];
    let mut seen = Vec::new();
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while seen.len() < expected {
        assert!(
            std::time::Instant::now() < deadline,
            "{} of {expected}",
            seen.len()
        );
        for (store, limit) in stores.iter().zip([7, 40]) {
            let claim = store.claim(limit, LEASE).await.unwrap();
            if !claim.events.is_empty() {
                store
                    .settle(claim.token, &all(&claim, &Outcome::Published))
                    .await
                    .unwrap();
            }
            seen.extend(claim.events.into_iter().map(|claimed| claimed.event));
        }
        stores[0]
            .wait_for_work(Duration::from_millis(20))
            .await
            .unwrap();
    }
    seen
}
