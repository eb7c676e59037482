//! S1: a dump that is restored in another cluster, which has other transaction ids.

mod support;

use outbox_conformance::store::StoreFixture;
use outbox_core::{
    Claim, ClaimLimit, DeadLetterFilter, DeadLetters, ErrorKind, Event, EventId, OutboxStorage,
    Outcome,
};
use outbox_store_postgres::PostgresStore;
use outbox_store_postgres::sqlx::Executor;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{Own, each};
use test_servers::{Kind, Server, search_path};

const LEASE: Duration = Duration::from_secs(30);
const DELAY: Duration = Duration::from_secs(60);

/// How many more transactions one cluster has had than the other.
const AHEAD: u32 = 5_000;

fn keyed(key: &str, count: usize) -> Vec<Event> {
    let event = |n: usize| Event::new("restored", n.to_string()).ordering_key(key);
    (0..count).map(event).collect()
}

fn ids(events: &[Event]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

async fn claim(store: &PostgresStore, limit: usize) -> Claim {
    store
        .claim(ClaimLimit::events(limit), LEASE)
        .await
        .expect("claimed")
}

async fn settle(store: &PostgresStore, claim: &Claim, outcome: &Outcome) {
    let settled = store.settle(claim.token, &each(claim, outcome)).await;
    settled.expect("settled");
}

/// Publishes all events that can be claimed now.
async fn publish_all(store: &PostgresStore) -> Vec<EventId> {
    let mut published = Vec::new();
    loop {
        let claim = claim(store, 3).await;
        if claim.events.is_empty() {
            return published;
        }
        settle(store, &claim, &Outcome::Published).await;
        published.extend(claim.events.iter().map(|one| one.event.id));
    }
}

/// A database with events in each state, before its dump.
struct Shop {
    own: Own,
    /// The events that are not delivered yet, by key.
    due: [Vec<EventId>; 3],
    dead: EventId,
}

impl Shop {
    async fn open(own: Own) -> Self {
        let store = own.open().await;
        let (delay, error) = (DELAY, "refused".into());
        let (waiting, dead) = (keyed("waiting", 3), keyed("dead", 1));
        own.append(&waiting).await;
        let retry = Outcome::Retry { delay, error };
        settle(&store, &claim(&store, 3).await, &retry).await;
        own.append(&dead).await;
        let reason = "never".into();
        settle(&store, &claim(&store, 1).await, &Outcome::Dead { reason }).await;
        let claimed = keyed("claimed", 3);
        own.append(&claimed).await;
        assert_eq!(claim(&store, 2).await.events.len(), 2);
        // A window that was read, one that is read in part, and events that are in no window yet.
        let read = keyed("read", 6);
        own.append(&read[..1]).await;
        assert_eq!(publish_all(&store).await, ids(&read[..1]));
        own.append(&read[1..5]).await;
        let part = claim(&store, 3).await;
        assert_eq!(part.events.len(), 3);
        settle(&store, &part, &Outcome::Published).await;
        own.append(&read[5..]).await;
        Self {
            own,
            due: [&waiting[..], &claimed, &read[4..]].map(ids),
            dead: dead[0].id,
        }
    }
}

/// Copies a database into an empty one, with the tools of an operator.
fn restore(from: &str, to: &str) {
    let folders = search_path();
    let program = |name| {
        let mut paths = folders.iter().map(|folder| folder.join(name));
        let path = paths
            .find(|path| path.is_file())
            .expect("PostgreSQL's programs");
        Command::new(path)
    };
    let mut dump = program("pg_dump")
        .args(["--schema=outbox", from])
        .stdout(Stdio::piped())
        .spawn()
        .expect("pg_dump runs");
    let output = program("psql")
        .args(["-q", "-v", "ON_ERROR_STOP=1", to])
        .stdin(dump.stdout.take().expect("a pipe"))
        .stdout(Stdio::null())
        .output()
        .expect("psql runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(dump.wait().expect("ended").success());
}

/// Appends an event in a savepoint. Its row has the id of the subtransaction.
async fn append_in_savepoint(own: &Own, event: &Event) {
    let mut connection = own.connect().await;
    connection
        .execute("START TRANSACTION; SELECT pg_current_xact_id(); SAVEPOINT inner_one")
        .await
        .expect("begun");
    own.appender()
        .append(&mut connection, std::slice::from_ref(event))
        .await
        .expect("appended");
    connection.execute("COMMIT").await.expect("committed");
}

/// Runs so many transactions.
async fn burn(own: &Own, count: u32) {
    own.execute(&format!(
        "DO $$ BEGIN FOR i IN 1..{count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
    ))
    .await;
}

async fn a_restored_dump_loses_and_repeats_nothing(before_the_dump: u32, before_the_copy: u32) {
    let start = || Server::start(Kind::Postgres, &search_path()).expect("a server");
    let (old, new) = (start(), start());
    let own = Own::on(old.url(), "outbox");
    burn(&own, before_the_dump).await;
    let shop = Shop::open(own).await;
    let own = Own::empty_on(new.url(), "outbox");
    burn(&own, before_the_copy).await;
    restore(&shop.own.url(), &own.url());

    // The application may start before the first relay.
    let (early, late) = (keyed("early", 3), keyed("read", 2));
    own.append(&early[..1]).await;
    append_in_savepoint(&own, &early[1]).await;
    own.append(&early[2..]).await;
    own.append(&late[..1]).await;
    let (store, _other) = tokio::join!(own.open(), own.open());
    own.append(&late[1..]).await;

    let mut delivered = publish_all(&store).await;
    own.elapse(2 * DELAY).await;
    delivered.extend(publish_all(&store).await);
    let [waiting, claimed, mut read] = shop.due;
    read.extend(ids(&late));
    let count = delivered.len();
    for key in [waiting, claimed, read, ids(&early)] {
        let of_key: Vec<_> = delivered.iter().filter(|id| key.contains(id)).collect();
        assert_eq!(of_key, key.iter().collect::<Vec<_>>());
        delivered.retain(|id| !key.contains(id));
    }
    assert_eq!(delivered, [], "{count} were delivered");
    let all = DeadLetterFilter::all();
    assert_eq!(store.replay(&all, 10).await.expect("replayed"), [shop.dead]);
    assert_eq!(publish_all(&store).await, [shop.dead]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_in_a_cluster_with_fewer_transactions_loses_nothing() {
    Box::pin(a_restored_dump_loses_and_repeats_nothing(AHEAD, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_in_a_cluster_with_more_transactions_loses_nothing() {
    Box::pin(a_restored_dump_loses_and_repeats_nothing(0, AHEAD)).await;
}

/// Some ways to move a database copy the rows, but not the sequences.
#[tokio::test]
async fn a_log_whose_sequence_stayed_behind_is_read_again_and_continues() {
    let own = Own::in_schema("outbox");
    let store = own.open().await;
    own.append(&keyed("read", 5)).await;
    assert_eq!(publish_all(&store).await.len(), 5);
    let (before, after) = (keyed("before", 1), keyed("after", 1));
    own.execute("SELECT setval('outbox.outbox_events_seq_seq', 1)")
        .await;
    own.append(&before).await;
    let store = own.open().await;
    own.append(&after).await;
    let published = publish_all(&store).await;
    for event in [&before[0], &after[0]] {
        assert!(published.contains(&event.id), "{published:?}");
    }
    own.append(&keyed("after that", 1)).await;
    assert_eq!(publish_all(&store).await.len(), 1);
}

#[tokio::test]
async fn a_sequence_with_a_cache_is_refused() {
    let own = Own::in_schema("outbox");
    own.execute("ALTER SEQUENCE outbox.outbox_events_seq_seq CACHE 20")
        .await;
    let opened = PostgresStore::open(own.pool()).await;
    let error = opened.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = error.to_string();
    assert!(
        text.contains("outbox_events_seq_seq") && text.contains("20"),
        "{text}"
    );
}
