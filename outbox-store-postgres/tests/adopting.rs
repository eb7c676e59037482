//! `docs/adopting.md`: its statements, run on a table with Debezium's columns.

mod support;

use outbox_conformance::transport::MemoryBroker;
use outbox_core::{Event, Relay};
use outbox_store_postgres::sqlx::{self, AssertSqlSafe, Executor, PgConnection, Row};
use std::collections::BTreeMap;
use support::Own;
use test_servers::{Kind, Server, search_path};

const PAGE: &str = include_str!("../../docs/adopting.md");

/// The SQL block of the page that has this text.
fn block(text: &str) -> String {
    let blocks = PAGE.split("```sql\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next());
    let mut found = blocks.filter(|block| block.contains(text));
    let block = found
        .next()
        .unwrap_or_else(|| panic!("no block has {text}"));
    assert!(found.next().is_none(), "two blocks have {text}");
    block.to_owned()
}

/// Adds the table that the page assumes.
async fn with_the_table(own: Own) -> Own {
    own.execute(&block("CREATE TABLE")).await;
    own
}

/// The values of a row; the payload is SQL.
fn event(number: u32, aggregate: &str, payload: &str) -> String {
    format!(
        "('{}', 'order', '{aggregate}', 'order.changed', {payload})",
        id(number)
    )
}

fn id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn insert(events: &[String]) -> String {
    format!("INSERT INTO outboxevent VALUES {};", events.join(", "))
}

async fn run(connection: &mut PgConnection, sql: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

async fn refused(connection: &mut PgConnection, sql: &str) -> String {
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    done.expect_err(sql).to_string()
}

/// What a relay publishes until nothing is pending.
async fn published(own: &Own) -> Vec<Event> {
    let broker = MemoryBroker::new();
    let relay = Relay::new(own.open().await, broker.clone());
    let run = Box::pin(relay.run(own.drained()));
    run.await.expect("published");
    broker.events()
}

/// The numbers of the events of each key, in the order of their arrival.
fn numbers(events: &[Event]) -> BTreeMap<String, Vec<u32>> {
    let mut keys: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for event in events {
        let id = event.id.to_string();
        let number = id.rsplit('-').next().and_then(|number| number.parse().ok());
        let key = event.ordering_key.clone().expect("a key");
        keys.entry(key).or_default().push(number.expect("a number"));
    }
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_debeziums_table_are_published_in_order_per_aggregate() {
    let own = with_the_table(Own::in_schema("outbox")).await;
    let before = insert(&[event(1, "a", "'{}'")]);
    own.execute(&before).await;
    own.execute(&block("CREATE TRIGGER")).await;

    let mut app = own.connect().await;
    for sql in [
        insert(&[
            event(2, "a", "'{\"n\":2}'"),
            event(3, " b  7 ", "'[3]'"),
            event(4, "a", "'4'"),
        ]),
        // Rolled back, whole and in part.
        format!(
            "START TRANSACTION; {} ROLLBACK;",
            insert(&[event(5, "a", "'5'")])
        ),
        format!(
            "START TRANSACTION; {} SAVEPOINT s; {} ROLLBACK TO s; {} COMMIT;",
            insert(&[event(6, "a", "'6'")]),
            insert(&[event(7, "a", "'7'")]),
            insert(&[event(8, "a", "NULL")]),
        ),
        // Debezium reads the row from the log of the database.
        format!(
            "START TRANSACTION; {} DELETE FROM outboxevent; COMMIT;",
            insert(&[event(9, " b  7 ", "'9'")])
        ),
    ] {
        run(&mut app, &sql).await;
    }

    let events = published(&own).await;
    let expected = BTreeMap::from([
        ("a".into(), vec![2, 4, 6, 8]),
        (" b  7 ".into(), vec![3, 9]),
    ]);
    assert_eq!(numbers(&events), expected);
    let by_number = |number| {
        let found = events
            .iter()
            .find(|event| event.id.to_string() == id(number));
        found.expect("published")
    };
    let two = by_number(2);
    assert_eq!(two.event_type, "order.changed");
    assert_eq!(
        (&*two.payload, &*two.content_type),
        (&b"{\"n\": 2}"[..], "application/json")
    );
    let headers: Vec<_> = two.headers.iter().collect();
    assert_eq!(format!("{headers:?}"), r#"[("aggregatetype", "order")]"#);
    let tombstone = by_number(8);
    assert!(tombstone.payload.is_empty());
    assert_eq!(tombstone.content_type, "application/octet-stream");
}

#[tokio::test]
async fn the_roles_of_the_application_need_no_new_privilege() {
    let own = with_the_table(Own::in_schema("outbox")).await;
    own.execute(&block("CREATE TRIGGER")).await;
    let role = format!("{}_app", own.name());
    let grant = format!("CREATE ROLE {role} LOGIN; GRANT INSERT ON outboxevent TO {role}");
    own.execute(&grant).await;
    let mut app = sqlx::ConnectOptions::connect(&own.options().username(&role))
        .await
        .expect("connected");
    run(&mut app, &insert(&[event(1, "a", "'1'")])).await;
    let direct = "INSERT INTO outbox.outbox_events (event_type, payload) VALUES ('x', '')";
    assert!(
        refused(&mut app, direct)
            .await
            .contains("permission denied")
    );
    own.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await;
    assert_eq!(published(&own).await.len(), 1);
}

#[tokio::test]
async fn the_query_lists_the_rows_that_the_trigger_would_refuse() {
    let own = with_the_table(Own::in_schema("outbox")).await;
    let good = insert(&[event(1, "a", "'1'"), event(2, "", "NULL")]);
    let bad = insert(&[event(3, "a", "'3'").replace("order.changed", "")]);
    own.execute(&format!("{good} {bad}")).await;
    let mut app = own.connect().await;
    let query = sqlx::query(AssertSqlSafe(block("octet_length(aggregateid)")));
    let rows = query.fetch_all(&mut app).await.expect("read");
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].get::<String, _>("type"), "");

    run(&mut app, "TRUNCATE outboxevent").await;
    run(&mut app, &block("CREATE TRIGGER")).await;
    run(&mut app, &good).await;
    let error = refused(&mut app, &bad).await;
    assert!(error.contains("event_type_is_1_to_1024_bytes"), "{error}");
}

#[tokio::test]
async fn the_trigger_waits_for_writers_and_then_changes_nothing() {
    let own = with_the_table(Own::in_schema("outbox")).await;
    let mut writer = own.connect().await;
    run(
        &mut writer,
        &format!("START TRANSACTION; {}", insert(&[event(1, "a", "'1'")])),
    )
    .await;
    let script = block("CREATE TRIGGER").replace("'2s'", "'50ms'");
    let mut owner = own.connect().await;
    let error = refused(&mut owner, &script).await;
    assert!(error.contains("lock timeout"), "{error}");
    run(&mut owner, "ROLLBACK").await;
    run(&mut writer, "COMMIT").await;
    run(&mut owner, &script).await;
    assert!(
        published(&own).await.is_empty(),
        "a row from before the trigger"
    );
}

/// What the connector has received since it was last asked: the numbers of the events.
async fn connector(app: &mut PgConnection) -> Vec<u32> {
    let read = "SELECT encode(data, 'escape') FROM pg_logical_slot_get_binary_changes('debezium', NULL, NULL,
                'proto_version', '1', 'publication_names', 'dbz')";
    let rows = app.fetch_all(read).await.expect("read");
    let number = |row: &sqlx::postgres::PgRow| {
        let data: String = row.get(0);
        let (_, tail) = data.split_once("00000000-0000-4000-8000-")?;
        data.starts_with('I')
            .then(|| tail[..12].parse().expect("a number"))
    };
    rows.iter().filter_map(number).collect()
}

/// On a server that has logical replication.
async fn own_with_slots() -> (Server, Own) {
    let mut server = Server::start(Kind::Postgres, &search_path()).expect("a server");
    let own = Own::on(server.url(), "outbox");
    own.execute("ALTER SYSTEM SET wal_level = logical").await;
    let server = tokio::task::spawn_blocking(move || {
        server.crash().expect("started again");
        server
    });
    let server = server.await.expect("a server");
    (server, with_the_table(own).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_and_a_return_lose_no_event() {
    let (_server, own) = own_with_slots().await;
    let mut app = own.connect().await;
    let rows = |numbers: &[u32]| {
        insert(
            &numbers
                .iter()
                .map(|n| event(*n, "a", "'1'"))
                .collect::<Vec<_>>(),
        )
    };
    run(&mut app, "CREATE PUBLICATION dbz FOR TABLE outboxevent").await;
    run(&mut app, &block("pg_create_logical_replication_slot")).await;

    run(&mut app, &rows(&[1])).await;
    run(&mut app, &block("CREATE TRIGGER")).await;
    let is_past = block("is_past").replace("0/0", &position(&mut app).await);
    run(&mut app, &rows(&[2])).await;
    assert!(
        !is_true(&mut app, &is_past).await,
        "the connector has read nothing"
    );
    assert_eq!(connector(&mut app).await, [1, 2]);
    assert!(
        is_true(&mut app, &is_past).await,
        "the connector has read all"
    );
    run(&mut app, &block("pg_drop_replication_slot")).await;
    run(&mut app, &rows(&[3])).await;
    assert_eq!(numbers(&published(&own).await)["a"], [2, 3]);

    run(&mut app, &rows(&[4])).await;
    run(&mut app, &block("pg_create_logical_replication_slot")).await;
    run(&mut app, &rows(&[5])).await;
    run(&mut app, &block("DROP TRIGGER")).await;
    run(&mut app, &rows(&[6])).await;
    assert_eq!(numbers(&published(&own).await)["a"], [4, 5]);
    assert_eq!(connector(&mut app).await, [5, 6]);
}

/// The position of the log of the database.
async fn position(app: &mut PgConnection) -> String {
    let row = sqlx::raw_sql(AssertSqlSafe(block("pg_current_wal_lsn")));
    let row = row.fetch_one(app).await.expect("read");
    row.try_get_unchecked(0).expect("a position")
}

async fn is_true(app: &mut PgConnection, sql: &str) -> bool {
    let query = sqlx::query(AssertSqlSafe(sql));
    query.fetch_one(app).await.expect("read").get(0)
}
