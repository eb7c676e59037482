//! An open handle whose tables change: they are in another cluster, their sequence was set back, or they
//! were emptied.

mod support;

use outbox_conformance::store::StoreFixture;
use outbox_conformance::{TcpWire, Wire};
use outbox_core::{ClaimLimit, ErrorKind, Event, EventId, OutboxStorage, Outcome};
use outbox_store_postgres::sqlx::postgres::PgPoolOptions;
use outbox_store_postgres::sqlx::{self, AssertSqlSafe, ConnectOptions, PgConnection, PgPool};
use outbox_store_postgres::{PostgresStore, append};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{Own, each};
use test_servers::{Kind, Server, search_path};

const LEASE: Duration = Duration::from_secs(30);

/// The lease of a claim that was made while the clock was wrong ends after this time.
const LONGEST: Duration = Duration::from_secs(60);

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How many more transactions one cluster has had than the other.
const AHEAD: u32 = 5_000;

/// An event that a program inserts after the change.
const NEW: usize = 50;

fn events(key: &str, count: usize) -> Vec<Event> {
    let event = |n: usize| Event::new("moved", n.to_string()).ordering_key(format!("{key}{n}"));
    (0..count).map(event).collect()
}

/// Publishes and cleans up as a relay does, until nothing is left. Repeats a call after a lost
/// connection.
async fn relay(store: &PostgresStore) -> Vec<EventId> {
    let mut published = Vec::new();
    let mut errors = 0;
    loop {
        let claim = match store.claim(ClaimLimit::events(20), LEASE).await {
            Ok(claim) => claim,
            Err(error) => {
                errors += 1;
                assert!(errors < 20, "{error}");
                continue;
            }
        };
        store.clean_up(1000).await.expect("cleaned up");
        if claim.events.is_empty() {
            return published;
        }
        let outcomes = each(&claim, &Outcome::Published);
        store.settle(claim.token, &outcomes).await.expect("settled");
        published.extend(claim.events.iter().map(|one| one.event.id));
    }
}

fn assert_all(published: &[EventId], events: &[Event]) {
    let lost = events.iter().filter(|event| !published.contains(&event.id));
    assert_eq!(lost.count(), 0, "lost of {}", events.len());
}

/// A private cluster, whose database `postgres` has the tables.
struct Cluster(Server);

impl Cluster {
    fn start() -> Self {
        Self(Server::start(Kind::Postgres, &search_path()).expect("a server"))
    }

    fn address(&self) -> SocketAddr {
        let options: sqlx::postgres::PgConnectOptions = self.0.url().parse().expect("a URL");
        ([127, 0, 0, 1], options.get_port()).into()
    }

    async fn connect(&self) -> PgConnection {
        let options: sqlx::postgres::PgConnectOptions = self.0.url().parse().expect("a URL");
        options.connect().await.expect("connected")
    }

    async fn execute(&self, sql: &str) {
        let mut connection = self.connect().await;
        let done = sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    async fn burn(&self, count: u32) {
        self.execute(&format!(
            "DO $$ BEGIN FOR i IN 1..{count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
        ))
        .await;
    }

    async fn append(&self, events: &[Event]) {
        let mut connection = self.connect().await;
        let appended = append(&mut connection, events).await;
        appended.expect("appended");
    }

    fn pool_over(&self, wire: &TcpWire) -> PgPool {
        let options: sqlx::postgres::PgConnectOptions = self.0.url().parse().expect("a URL");
        PgPoolOptions::new()
            .max_connections(2)
            .connect_lazy_with(options.port(wire.port()))
    }
}

fn program(name: &str) -> Command {
    let folders = search_path();
    let mut paths = folders.iter().map(|folder| folder.join(name));
    Command::new(paths.find(|path| path.is_file()).expect("a program"))
}

fn copy(from: &Cluster, to: &Cluster) {
    let mut dump = program("pg_dump")
        .args(["--schema=outbox", from.0.url()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("pg_dump runs");
    let status = program("psql")
        .args(["-q", "-v", "ON_ERROR_STOP=1", to.0.url()])
        .stdin(dump.stdout.take().expect("a pipe"))
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("psql runs").success());
    assert!(dump.wait().expect("ended").success());
}

/// An open handle publishes on one cluster. Then the tables are copied to the other cluster, and the
/// address leads there.
async fn a_handle_that_is_moved_loses_nothing(ahead: [u32; 2], after_the_copy: &str) {
    let clusters = [Cluster::start(), Cluster::start()];
    for (cluster, ahead) in clusters.iter().zip(ahead) {
        cluster.burn(ahead).await;
    }
    let [old, new] = clusters;
    let wire = TcpWire::to(old.address()).expect("a wire");
    let pool = old.pool_over(&wire);
    let migrated = PostgresStore::migrate(pool).await;
    let store = migrated.expect("migrated");
    let before = events("before", 200);
    old.append(&before).await;
    assert_all(&relay(&store).await, &before);
    let waiting = events("waiting", 10);
    old.append(&waiting).await;

    copy(&old, &new);
    new.execute(after_the_copy).await;
    wire.redirect_to(new.address());
    wire.cut_all();
    let after = events("after", NEW);
    new.append(&after).await;
    let published = relay(&store).await;
    assert_all(&published, &waiting);
    assert_all(&published, &after);
    let later = events("later", NEW);
    new.append(&later).await;
    assert_eq!(relay(&store).await.len(), NEW);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_that_is_moved_to_a_younger_cluster_loses_nothing() {
    a_handle_that_is_moved_loses_nothing([AHEAD, 0], "SELECT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_that_is_moved_to_an_older_cluster_loses_nothing() {
    a_handle_that_is_moved_loses_nothing([0, AHEAD], "SELECT").await;
}

/// Logical replication copies the rows, but neither the sequences nor the writes of the triggers.
#[tokio::test(flavor = "multi_thread")]
async fn a_handle_that_is_moved_to_a_cluster_whose_sequence_stayed_behind_loses_nothing() {
    let behind = "SELECT setval('outbox.outbox_events_seq_seq', 1, false)";
    a_handle_that_is_moved_loses_nothing([AHEAD, 0], behind).await;
}

/// For a while the address leads to a standby.
#[tokio::test(flavor = "multi_thread")]
async fn a_handle_that_met_a_standby_publishes_as_soon_as_the_primary_is_back() {
    let primary = Cluster::start();
    let wire = TcpWire::to(primary.address()).expect("a wire");
    let pool = primary.pool_over(&wire);
    let migrated = PostgresStore::migrate(pool).await;
    let store = migrated.expect("migrated");
    let before = events("before", NEW);
    primary.append(&before).await;
    assert_all(&relay(&store).await, &before);
    let standby = primary.0.start_standby(&search_path());
    let standby = Cluster(standby.expect("a standby"));

    wire.redirect_to(standby.address());
    wire.cut_all();
    for _ in 0..3 {
        let claimed = store.claim(ClaimLimit::events(20), LEASE).await;
        assert_eq!(claimed.unwrap_err().kind(), ErrorKind::Unavailable);
        let waited = store.wait_for_work(LEASE).await;
        assert_eq!(waited.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    // Connections to the standby stay open, as with a proxy.
    wire.redirect_to(primary.address());
    let after = events("after", NEW);
    primary.append(&after).await;
    let claim = store.claim(ClaimLimit::events(20), LEASE).await;
    assert_eq!(claim.expect("claimed at once").events.len(), 20);
}

/// An operator, or the set-up of a test, empties the tables of an open handle.
#[tokio::test(flavor = "multi_thread")]
async fn a_handle_whose_tables_are_emptied_loses_no_later_event() {
    let own = Own::in_schema("outbox");
    let store = own.open().await;
    for reset in [
        "TRUNCATE outbox.outbox_events RESTART IDENTITY",
        "TRUNCATE outbox.outbox_events, outbox.outbox_lanes, outbox.outbox_origin,
                  outbox.outbox_marks, outbox.outbox_retries RESTART IDENTITY",
        "ALTER SEQUENCE outbox.outbox_events_seq_seq RESTART",
        "ALTER TABLE outbox.outbox_events ALTER seq RESTART",
        "SELECT setval('outbox.outbox_events_seq_seq', 1)",
        "SELECT setval('outbox.outbox_events_seq_seq', 1); DELETE FROM outbox.outbox_events",
        "DELETE FROM outbox.outbox_lanes",
        "DELETE FROM outbox.outbox_lanes WHERE lane % 3 = 0",
        "DELETE FROM outbox.outbox_origin",
        "DELETE FROM outbox.outbox_events; DELETE FROM outbox.outbox_lanes;
         DELETE FROM outbox.outbox_marks; DELETE FROM outbox.outbox_retries;
         DELETE FROM outbox.outbox_origin; DELETE FROM outbox.outbox_tokens;
         DELETE FROM outbox.outbox_dead_letters",
    ] {
        let before = events("before", 200);
        own.append(&before).await;
        assert_all(&relay(&store).await, &before);
        own.execute(reset).await;
        let after = events("after", NEW);
        own.append(&after).await;
        let published = relay(&store).await;
        let lost = after
            .iter()
            .filter(|event| !published.contains(&event.id))
            .count();
        assert_eq!(lost, 0, "lost after {reset}");
        // More events than before.
        let more = events("more", 300);
        own.append(&more).await;
        assert_all(&relay(&store).await, &more);
    }
}

/// The server's clock was a year ahead.
#[tokio::test]
async fn a_lease_that_was_taken_while_the_clock_was_wrong_ends_in_time() {
    let own = Own::in_schema("outbox");
    let store = own.open().await;
    own.append(&events("leased", 3)).await;
    let claim = store.claim(ClaimLimit::events(10), LEASE).await;
    assert_eq!(claim.expect("claimed").events.len(), 3);
    own.execute(
        "UPDATE outbox.outbox_lanes SET leased_until = leased_until + '1 year'
         WHERE token IS NOT NULL",
    )
    .await;
    store.clean_up(10).await.expect("cleaned up");
    own.elapse(Duration::from_secs(120)).await;
    assert_eq!(relay(&store).await.len(), 3);
}

/// S22: the same for events that a settlement keeps. Then the claim that kept them has lost them.
#[tokio::test]
async fn a_kept_event_of_the_time_when_the_clock_was_wrong_comes_back() {
    let own = Own::in_schema("outbox");
    let (store, other) = (own.open().await, own.open().await);
    let of_key = [0, 1].map(|_| Event::new("kept", "").ordering_key("key"));
    let kept = [&of_key[..], &[Event::new("kept", "")]].concat();
    own.append(&kept).await;
    own.elapse(YEAR).await;
    let claim = store.claim(ClaimLimit::events(10), LEASE).await;
    let claim = claim.expect("claimed");
    assert_eq!(claim.events.len(), kept.len());
    let keep = each(&claim, &Outcome::Kept);
    store.settle(claim.token, &keep).await.expect("settled");
    own.execute("UPDATE test_clock.passed SET time = '0'").await;

    assert_eq!(relay(&other).await, [], "before the end of a lease");
    own.elapse(2 * LONGEST).await;
    let first = relay(&other).await;
    assert!(first.contains(&kept[0].id) && first.contains(&kept[2].id));
    // The second of the key has a due time since the first was published.
    own.elapse(2 * LONGEST).await;
    assert_eq!(relay(&other).await, [kept[1].id]);
    let late = each(&claim, &Outcome::Published);
    let error = store.settle(claim.token, &late).await;
    let error = error.expect_err("settled by others");
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
}

/// Deletes all rows of all tables, including the record of the migrations.
#[tokio::test]
async fn a_migration_repairs_emptied_tables_and_names_a_missing_one() {
    let own = Own::in_schema("outbox");
    let store = own.open().await;
    let before = events("before", 20);
    own.append(&before).await;
    assert_all(&relay(&store).await, &before);
    own.execute(
        "DO $$ DECLARE name text; BEGIN
             FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'outbox' LOOP
                 EXECUTE format('DELETE FROM outbox.%I', name);
             END LOOP;
         END $$",
    )
    .await;
    let opened = PostgresStore::open(own.pool()).await;
    let error = opened.expect_err("not migrated");
    assert!(error.to_string().contains("outbox migrate"), "{error}");
    let migrated = PostgresStore::migrate(own.pool()).await;
    let store = migrated.expect("repaired");
    let applied = PostgresStore::applied_migrations(own.pool()).await;
    let all = outbox_store_postgres::MIGRATIONS.len();
    assert_eq!(applied.expect("asked"), all);
    let after = events("after", NEW);
    own.append(&after).await;
    assert_all(&relay(&store).await, &after);

    own.execute("DROP TABLE outbox.outbox_tokens").await;
    for opened in [
        PostgresStore::open(own.pool()).await,
        PostgresStore::migrate(own.pool()).await,
    ] {
        let error = opened.expect_err("a table is missing");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("outbox_tokens"), "{error}");
    }
}
