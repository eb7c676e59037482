//! The store through PgBouncer in transaction mode, which may run each transaction on another connection.

use outbox_core::{
    ClaimLimit, ClaimedEvent, DeadLetterFilter, DeadLetters, ErrorKind, Event, EventId,
    OutboxError, OutboxStorage, Outcome, Settlement,
};
use outbox_store_postgres::sqlx::postgres::PgPoolOptions;
use outbox_store_postgres::sqlx::{
    self, AssertSqlSafe, ConnectOptions, Connection, Executor, PgPool, Row,
};
use outbox_store_postgres::{Appender, PostgresConfig, PostgresStore, Schema, append};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use test_servers::postgres::Database;
use test_servers::{Kind, Server, search_path};
use tokio::task::JoinHandle;

const LEASE: Duration = Duration::from_secs(30);
const RELAYS: usize = 3;
const PRODUCERS: usize = 4;
const TRANSACTIONS: usize = 25;

/// A database behind PgBouncer.
struct Bounced {
    bouncer: Server,
    database: Database,
}

impl Bounced {
    async fn start() -> Self {
        let url = test_servers::url(Kind::Postgres).unwrap_or_else(|error| panic!("{error}"));
        let database = Database::create_on(&url).await;
        let bouncer = tokio::task::spawn_blocking(move || {
            Server::start_pgbouncer(&search_path(), &url).unwrap_or_else(|error| panic!("{error}"))
        });
        let bouncer = bouncer.await.expect("a PgBouncer");
        Self { bouncer, database }
    }

    /// The pool of another process. Without the option, PgBouncer refuses a parameter that sqlx sends.
    fn pool(&self) -> PgPool {
        let options = self.database.options_through(self.bouncer.url());
        let pool = PgPoolOptions::new().max_connections(3);
        pool.connect_lazy_with(options.extra_float_digits(2))
    }

    async fn open(&self) -> PostgresStore {
        let config = PostgresConfig::new(self.pool()).through_pgbouncer();
        let opened = PostgresStore::migrate(config).await;
        opened.expect("opened")
    }

    async fn connect(&self) -> sqlx::PgConnection {
        let options = self.database.options_through(self.bouncer.url());
        options.connect().await.expect("connected")
    }
}

/// Transactions that each hold a connection to the server for a moment.
async fn produce(mut connection: sqlx::PgConnection, producer: usize) -> Vec<EventId> {
    let mut written = Vec::new();
    for n in 0..TRANSACTIONS {
        let event = |_| Event::new("bounced", n.to_string()).ordering_key(producer.to_string());
        let events: Vec<Event> = (0..=n % 3).map(event).collect();
        connection.execute("BEGIN").await.expect("begun");
        let appended = Appender::new(&Schema::default())
            .through_pgbouncer()
            .append(&mut connection, &events)
            .await;
        appended.expect("appended");
        connection.execute("COMMIT").await.expect("committed");
        written.extend(events.iter().map(|event| event.id));
    }
    connection.close().await.expect("closed");
    written
}

type Published = Arc<Mutex<BTreeMap<EventId, usize>>>;

/// Publishes events, and refuses some of them at the first attempt.
fn relay(store: PostgresStore, published: &Published) -> JoinHandle<()> {
    let published = Arc::clone(published);
    tokio::spawn(async move {
        loop {
            let claim = store
                .claim(ClaimLimit::events(10), LEASE)
                .await
                .expect("claimed");
            if claim.events.is_empty() {
                let waited = store.wait_for_work(Duration::from_millis(20)).await;
                waited.expect("waited");
                continue;
            }
            let outcomes: Vec<Settlement> = {
                let mut count = published.lock().expect("counted");
                let outcome = |one| outcome(one, &mut count);
                claim.events.iter().map(outcome).collect()
            };
            store.settle(claim.token, &outcomes).await.expect("settled");
        }
    })
}

fn outcome(one: &ClaimedEvent, published: &mut BTreeMap<EventId, usize>) -> Settlement {
    let retry = one.attempts == 0 && one.event.payload.ends_with(b"7");
    if retry {
        let (delay, error) = (Duration::ZERO, "refused".into());
        return Settlement::new(one.event.id, Outcome::Retry { delay, error });
    }
    *published.entry(one.event.id).or_default() += 1;
    Settlement::new(one.event.id, Outcome::Published)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn relays_and_producers_share_a_few_connections_of_the_server() {
    let bounced = Bounced::start().await;
    let stores = tokio::join!(bounced.open(), bounced.open(), bounced.open());
    let published = Published::default();
    let relays = <[PostgresStore; RELAYS]>::from(stores).map(|store| relay(store, &published));
    let mut producers = Vec::new();
    for producer in 0..PRODUCERS {
        producers.push(tokio::spawn(produce(bounced.connect().await, producer)));
    }
    let mut written = Vec::new();
    for producer in producers {
        written.extend(producer.await.expect("written"));
    }
    let store = bounced.open().await;
    while store.backlog().await.expect("read").pending > 0 {
        assert!(
            relays.iter().all(|relay| !relay.is_finished()),
            "a relay ended"
        );
    }
    let servers = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND backend_type = 'client backend'
                     AND application_name <> 'direct'";
    let direct = bounced.database.options().application_name("direct");
    let mut direct = direct.connect().await.expect("connected");
    let servers: i64 = direct.fetch_one(servers).await.expect("read").get(0);
    assert!(
        (2..=4).contains(&servers),
        "{servers} connections to the server"
    );
    relays.iter().for_each(JoinHandle::abort);
    let published = published.lock().expect("counted").clone();
    assert_eq!(published.len(), written.len());
    assert!(published.values().all(|count| *count == 1));
    // On any connection.
    let mut connection = bounced.connect().await;
    for _ in 0..8 {
        let names = "SELECT count(*)::text FROM pg_prepared_statements";
        let names = sqlx::raw_sql(names).fetch_one(&mut connection).await;
        assert_eq!(names.expect("read").get::<String, _>(0), "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_calls_of_an_operator_work() {
    let bounced = Bounced::start().await;
    let store = bounced.open().await;
    let events: Vec<Event> = (0..3)
        .map(|n| Event::new("bounced", n.to_string()))
        .collect();
    let mut connection = bounced.connect().await;
    connection.execute("BEGIN").await.expect("begun");
    let appended = Appender::new(&Schema::default())
        .through_pgbouncer()
        .append(&mut connection, &events)
        .await;
    appended.expect("appended");
    connection.execute("COMMIT").await.expect("committed");
    let claim = store
        .claim(ClaimLimit::events(10), LEASE)
        .await
        .expect("claimed");
    let reason = || Outcome::Dead {
        reason: "never".into(),
    };
    let dead = |one: &ClaimedEvent| Settlement::new(one.event.id, reason());
    let outcomes: Vec<Settlement> = claim.events.iter().map(dead).collect();
    store.settle(claim.token, &outcomes).await.expect("settled");
    let all = DeadLetterFilter::all();
    assert_eq!(store.list(&all, None, 10).await.expect("listed").len(), 3);
    store
        .find(events[0].id)
        .await
        .expect("found")
        .expect("there");
    assert_eq!(store.statistics(&all, 10).await.expect("grouped").len(), 1);
    assert_eq!(store.replay(&all, 1).await.expect("replayed").len(), 1);
    assert_eq!(store.purge(&all, 10).await.expect("purged").len(), 2);
    while store.clean_up(10).await.expect("cleaned up") > 0 {}
}

/// Other clients leave prepared statements behind: at most one call fails on each server connection.
#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_of_another_client_cost_one_call_at_most() {
    let bounced = Bounced::start().await;
    let store = bounced.open().await;
    let mut rude = bounced.connect().await;
    let leave = |name: usize| format!("PREPARE sqlx_s_{name} AS SELECT 1");
    for name in 1..200 {
        rude.execute(AssertSqlSafe(leave(name)))
            .await
            .expect("left");
    }
    let mut failed = 0;
    let all = DeadLetterFilter::all();
    for _ in 0..40 {
        match store.replay(&all, 1).await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                failed += 1;
            }
        }
    }
    assert!((1..=4).contains(&failed), "{failed} failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_option_the_error_names_it() {
    let bounced = Bounced::start().await;
    bounced.open().await;
    let mut error = None;
    for _ in 0..20 {
        let options = bounced.database.options_through(bounced.bouncer.url());
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .connect_lazy_with(options);
        let opened = PostgresStore::open(pool).await;
        let invalid = |error: &OutboxError| error.kind() == ErrorKind::Invalid;
        error = error.or(opened.err().filter(invalid));
    }
    let error = error.expect("a name that was taken");
    assert!(error.to_string().contains("through_pgbouncer"), "{error}");
    let mut connection = bounced.connect().await;
    let event = [Event::new("bounced", "")];
    let mut refused = false;
    for _ in 0..20 {
        let appended = append(&mut connection, &event).await;
        refused |= appended.is_err();
    }
    assert!(refused);
}
