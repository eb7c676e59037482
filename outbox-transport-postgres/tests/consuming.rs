//! The statements of docs/consuming.md.

mod support;

use outbox_core::{Event, EventId, Transport};
use outbox_inbox_postgres::PostgresInbox;
use outbox_transport_postgres::sqlx::{
    self, AssertSqlSafe, ConnectOptions, Executor, PgConnection, Row,
};
use outbox_transport_postgres::{PostgresTransport, Schema, read};
use std::collections::BTreeMap;
use support::{PAGE, README, block, publish};
use test_servers::postgres::Database;

/// A database with both tables, and one for the work of consumers.
async fn database() -> Database {
    let database = Database::create().await;
    database
        .execute(&PostgresTransport::script(&Schema::default()))
        .await;
    PostgresInbox::migrate(database.pool_of(1), "billing")
        .await
        .expect("migrated");
    let work = "CREATE TABLE public.work (n bigint GENERATED ALWAYS AS IDENTITY, id text, key text,
                                          number integer)";
    database.execute(work).await;
    database
}

fn transport(database: &Database) -> PostgresTransport {
    PostgresTransport::open(database.pool()).expect("opened")
}

/// Takes events until the table is empty, does the work, and rolls each third transaction back.
async fn consume(mut connection: PgConnection, take: &'static str, seed: usize) {
    let mut turn = seed;
    loop {
        turn += 1;
        connection.execute("BEGIN").await.expect("begun");
        let rows = sqlx::query(take)
            .fetch_all(&mut connection)
            .await
            .expect("taken");
        for row in &rows {
            let event = read(row).expect("an event");
            let number: i32 = std::str::from_utf8(&event.payload)
                .expect("text")
                .parse()
                .expect("a number");
            sqlx::query("INSERT INTO public.work (id, key, number) VALUES ($1, $2, $3)")
                .bind(event.id.to_string())
                .bind(event.ordering_key)
                .bind(number)
                .execute(&mut connection)
                .await
                .expect("worked");
        }
        let end = if turn.is_multiple_of(3) {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        connection.execute(end).await.expect("ended");
        let left = connection
            .fetch_one("SELECT count(*) FROM outbox.outbox_arrived")
            .await;
        if left.expect("counted").get::<i64, _>(0) == 0 {
            return;
        }
    }
}

/// Four consumers and a publisher at the same time; each call is published again later. Returns the numbers
/// of each key in the order of the work.
async fn worked(take: &'static str) -> BTreeMap<Option<String>, Vec<i32>> {
    const KEYS: usize = 7;
    let database = database().await;
    let transport = transport(&database);
    let key = |n: usize| (!n.is_multiple_of(10)).then(|| format!("key {}", n % KEYS));
    let event = |n: usize| {
        let event = Event::new("order.placed", n.to_string());
        key(n).map_or(event.clone(), |key| event.ordering_key(key))
    };
    let events: Vec<Event> = (0..400).map(event).collect();
    let mut consumers = Vec::new();
    for seed in 0..4 {
        let connection = database.options().connect().await.expect("connected");
        consumers.push(tokio::spawn(consume(connection, take, seed)));
    }
    for call in events.chunks(40) {
        publish(&transport, call).await;
    }
    for consumer in consumers {
        consumer.await.expect("consumed");
    }
    // A relay that lost the answers.
    for call in events.chunks(100) {
        publish(&transport, call).await;
    }
    let connection = database.options().connect().await.expect("connected");
    consume(connection, take, 0).await;
    let rows = database
        .pool_of(1)
        .fetch_all("SELECT key, number FROM public.work ORDER BY n")
        .await;
    let mut keys: BTreeMap<Option<String>, Vec<i32>> = BTreeMap::new();
    for row in rows.expect("read") {
        keys.entry(row.get(0)).or_default().push(row.get(1));
    }
    keys
}

fn once_each(keys: &BTreeMap<Option<String>, Vec<i32>>) {
    let mut all: Vec<i32> = keys.values().flatten().copied().collect();
    all.sort_unstable();
    assert_eq!(all, (0..400).collect::<Vec<i32>>());
}

fn in_order(keys: &BTreeMap<Option<String>, Vec<i32>>) {
    for (key, numbers) in keys.iter().filter(|(key, _)| key.is_some()) {
        assert!(numbers.is_sorted(), "{key:?}: {numbers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn consumers_that_wait_for_each_other_handle_each_event_once_and_in_order() {
    let keys = worked(block(PAGE, "in-order")).await;
    once_each(&keys);
    in_order(&keys);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn consumers_that_share_the_keys_handle_each_event_once_and_each_key_in_order() {
    let keys = worked(block(PAGE, "per-key")).await;
    once_each(&keys);
    in_order(&keys);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn consumers_without_order_handle_each_event_once() {
    once_each(&worked(block(PAGE, "any-order")).await);
}

/// Two consumers with open transactions have different keys, and the events of a key are together.
#[tokio::test]
async fn consumers_that_share_the_keys_work_at_the_same_time() {
    let database = database().await;
    let event = |n: usize| Event::new("a", n.to_string()).ordering_key(format!("key {}", n % 30));
    let events: Vec<Event> = (0..90).map(event).collect();
    publish(&transport(&database), &events).await;
    let mut keys = Vec::new();
    let mut consumers = Vec::new();
    for _ in 0..2 {
        let mut connection = database.options().connect().await.expect("connected");
        connection.execute("BEGIN").await.expect("begun");
        let take = sqlx::query(block(PAGE, "per-key"));
        let rows = take.fetch_all(&mut connection).await.expect("taken");
        let key = |row: &sqlx::postgres::PgRow| row.get::<String, _>("ordering_key");
        let mut taken: Vec<String> = rows.iter().map(key).collect();
        taken.sort_unstable();
        assert!(
            taken
                .chunks(3)
                .all(|same| same.len() == 3 && same[0] == same[2]),
            "{taken:?}"
        );
        taken.dedup();
        keys.push(taken);
        consumers.push(connection);
    }
    assert_eq!((keys[0].len(), keys[1].len()), (20, 10));
    assert!(keys[0].iter().all(|key| !keys[1].contains(key)));
}

/// The trap of a position: a transaction that commits late has smaller numbers.
#[tokio::test]
async fn a_late_commit_is_not_missed() {
    let database = database().await;
    let mut late = database.options().connect().await.expect("connected");
    let row =
        "INSERT INTO outbox.outbox_arrived (id, created_at, event_type, content_type, payload)
               VALUES (gen_random_uuid(), now(), 'late', 'text/plain', '1')";
    late.execute("BEGIN").await.expect("begun");
    late.execute(row).await.expect("inserted");
    publish(&transport(&database), &[Event::new("early", "2")]).await;
    let mut consumer = database.options().connect().await.expect("connected");
    for (name, end) in [("early", "COMMIT"), ("late", "SELECT")] {
        for recipe in ["any-order", "per-key", "in-order"] {
            let take = sqlx::query(block(PAGE, recipe));
            let rows = take.fetch_all(&mut consumer).await.expect("taken");
            let types: Vec<String> = rows.iter().map(|row| row.get("event_type")).collect();
            let expected: &[&str] = if recipe == "any-order" { &[name] } else { &[] };
            assert_eq!(types, expected, "{recipe}");
        }
        late.execute(end).await.expect("ended");
    }
}

/// Runs the grants for a new role, and returns it.
async fn role(database: &Database, name: &str, grants: &str) -> String {
    let role = format!("{}_{name}", database.name());
    let grants = grants.replace(&format!(" TO {name}"), &format!(" TO {role}"));
    database
        .execute(&format!("CREATE ROLE {role} LOGIN; {grants}"))
        .await;
    role
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_privileges_are_enough_and_no_more() {
    let database = database().await;
    let publisher = role(&database, "publisher", block(README, "publisher-grants")).await;
    let consumer = role(&database, "consumer", block(PAGE, "consumer-grants")).await;
    let pool = sqlx::postgres::PgPoolOptions::new()
        .connect_lazy_with(database.options().username(&publisher));
    let transport = PostgresTransport::open(pool.clone()).expect("opened");
    let check = transport.check().await;
    assert!(check.problems.is_empty(), "{check:?}");
    let event = Event::new("a", "1");
    publish(&transport, std::slice::from_ref(&event)).await;
    publish(&transport, &[event]).await;
    for forbidden in ["SELECT payload FROM", "DELETE FROM", "TRUNCATE"] {
        let sql = AssertSqlSafe(format!("{forbidden} outbox.outbox_arrived"));
        let refused = sqlx::raw_sql(sql)
            .execute(&pool)
            .await
            .expect_err("refused");
        assert!(
            refused.to_string().contains("permission denied"),
            "{refused}"
        );
    }
    pool.close().await;

    let options = database.options().username(&consumer);
    let mut connection = options.connect().await.expect("connected");
    for recipe in ["in-order", "per-key", "any-order", "forget"] {
        let rows = sqlx::query(block(PAGE, recipe))
            .fetch_all(&mut connection)
            .await;
        let rows = rows.unwrap_or_else(|error| panic!("{recipe}: {error}"));
        assert_eq!(rows.len(), usize::from(recipe == "in-order"));
    }
    drop(connection);
    for role in [publisher, consumer] {
        let drop = format!("DROP OWNED BY {role}; DROP ROLE {role}");
        database.execute(&drop).await;
    }
}

#[tokio::test]
async fn a_consumer_that_listens_is_woken_once_for_each_call() {
    let database = database().await;
    database.execute(block(PAGE, "notify")).await;
    let mut listener = sqlx::postgres::PgListener::connect_with(&database.pool_of(1))
        .await
        .expect("connected");
    listener.listen("outbox_arrived").await.expect("listening");
    let events: Vec<Event> = (0..50).map(|n| Event::new("a", n.to_string())).collect();
    publish(&transport(&database), &events).await;
    listener.recv().await.expect("woken");
    database.execute("NOTIFY outbox_arrived, 'last'").await;
    assert_eq!(listener.recv().await.expect("woken").payload(), "last");
}

/// The inbox of the crate and the statements of the page share their memory.
#[tokio::test]
async fn an_event_that_the_inbox_accepted_is_not_taken_again() {
    let database = database().await;
    let inbox = PostgresInbox::open(database.pool_of(1), "billing")
        .await
        .expect("opened");
    let id = EventId::new();
    publish(&transport(&database), &[Event::new("a", "1").id(id)]).await;
    let mut connection = database.options().connect().await.expect("connected");
    assert!(inbox.accept(&mut connection, id).await.expect("accepted"));
    let rows = sqlx::query(block(PAGE, "in-order"))
        .fetch_all(&mut connection)
        .await;
    assert_eq!(rows.expect("taken").len(), 0);
    let left = connection
        .fetch_one("SELECT count(*) FROM outbox.outbox_arrived")
        .await;
    assert_eq!(left.expect("counted").get::<i64, _>(0), 0);
}

/// Events whose own content type or headers look like those of another mode, in each mode.
#[tokio::test]
async fn an_event_that_looks_like_a_cloud_event_is_read_unchanged() {
    use outbox_core::wire::{Mode, WireForm};
    let database = database().await;
    let looks = [
        Event::new("a", "{}").content_type("application/cloudevents+json"),
        Event::new("b", "x")
            .header("ce-specversion", "1.0")
            .header("outbox-id", "mine"),
        Event::new("c", "x")
            .ordering_key("")
            .header("content-type", "text/html"),
    ];
    for mode in [
        Mode::Raw,
        Mode::CloudEventsBinary,
        Mode::CloudEventsStructured,
    ] {
        let config = outbox_transport_postgres::PostgresTransportConfig::new(database.pool_of(1));
        let transport = PostgresTransport::open(config.form(WireForm::new(mode))).expect("opened");
        publish(&transport, &looks).await;
        let rows = sqlx::query("DELETE FROM outbox.outbox_arrived RETURNING *");
        let rows = rows.fetch_all(&database.pool_of(1)).await.expect("taken");
        for (sent, row) in looks.iter().zip(&rows) {
            let event = read(row).expect("an event");
            assert_eq!(
                (event.id, &event.headers),
                (sent.id, &sent.headers),
                "{mode}"
            );
            assert_eq!(event.content_type, sent.content_type, "{mode}");
            assert_eq!(
                (event.payload, event.ordering_key),
                (sent.payload.clone(), sent.ordering_key.clone())
            );
        }
    }
}
