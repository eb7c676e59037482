//! Each column at its limits and beyond them. Each later statement accepts the values that the log
//! accepts. A refusal names the limit.

mod support;

use outbox_conformance::store::StoreFixture;
use outbox_core::{
    ClaimLimit, DeadLetterFilter, DeadLetters, ErrorKind, Event, OutboxStorage, Outcome,
};
use outbox_store_postgres::PostgresStore;
use outbox_store_postgres::sqlx::{self, AssertSqlSafe, Connection, Executor, PgConnection};
use std::time::{Duration, SystemTime};
use support::{Own, each};

const LEASE: Duration = Duration::from_secs(30);
const ALL: usize = 100;

async fn insert(connection: &mut PgConnection, columns: &str, values: &str) -> sqlx::Result<()> {
    let sql = format!(
        "INSERT INTO outbox.outbox_events ({columns}) OVERRIDING SYSTEM VALUE VALUES ({values})"
    );
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .map(drop)
}

/// The error of the server for a refused row.
async fn refusal(connection: &mut PgConnection, columns: &str, values: &str) -> String {
    let refused = insert(connection, columns, values).await;
    let error = refused.expect_err(values);
    assert!(error.as_database_error().is_some(), "{values}: {error}");
    error.to_string()
}

/// The columns and the values of a plain row, of which one column has `value`.
fn with(column: &str, value: &str) -> (String, String) {
    let others = [
        ("event_type", "'limits'"),
        ("ordering_key", "'key'"),
        ("payload", "'x'"),
    ];
    let others = others.iter().filter(|(name, _)| *name != column);
    let (names, values): (Vec<_>, Vec<_>) = others.copied().chain([(column, value)]).unzip();
    (names.join(", "), values.join(", "))
}

/// A column, a value that it must not have, and a part of the error.
const BEYOND: &[(&str, &str, &str)] = &[
    ("event_type", "''", "event_type_is_1_to_1024_bytes"),
    (
        "event_type",
        "repeat('é', 513)",
        "event_type_is_1_to_1024_bytes",
    ),
    ("content_type", "''", "content_type_is_1_to_1024_bytes"),
    (
        "content_type",
        "repeat('x', 1025)",
        "content_type_is_1_to_1024_bytes",
    ),
    (
        "ordering_key",
        "repeat('x', 8193)",
        "ordering_key_is_at_most_8192_bytes",
    ),
    (
        "idempotency_token",
        "repeat('x', 1025)",
        "idempotency_token_is_at_most_1024_bytes",
    ),
    ("headers", "'[]'", "headers_are_a_json_object"),
    ("headers", "'1'", "headers_are_a_json_object"),
    ("headers", "'null'", "headers_are_a_json_object"),
    (
        "headers",
        "json_build_object('x', repeat('x', 9437184))",
        "headers_are_at_most_9_mib_of_json",
    ),
    (
        "created_at",
        "'infinity'",
        "created_at_is_in_the_years_1980_to_9999",
    ),
    (
        "created_at",
        "'-infinity'",
        "created_at_is_in_the_years_1980_to_9999",
    ),
    (
        "created_at",
        "'0001-01-01 BC'",
        "created_at_is_in_the_years_1980_to_9999",
    ),
    (
        "created_at",
        "to_timestamp(0)",
        "created_at_is_in_the_years_1980_to_9999",
    ),
    (
        "available_at",
        "'infinity'",
        "available_at_is_in_the_years_1980_to_9999",
    ),
    (
        "available_at",
        "'-infinity'",
        "available_at_is_in_the_years_1980_to_9999",
    ),
    (
        "available_at",
        "'294276-01-01'",
        "available_at_is_in_the_years_1980_to_9999",
    ),
    (
        "available_at",
        "to_timestamp(1790000)",
        "available_at_is_in_the_years_1980_to_9999",
    ),
    (
        "available_at",
        "to_timestamp(1790000000000)",
        "available_at_is_in_the_years_1980_to_9999",
    ),
    ("replays", "-1", "replays_is_0_to_1000000000"),
    ("replays", "2147483647", "replays_is_0_to_1000000000"),
    ("xid", "'1'", "xid is 1, but must be left to its default"),
    (
        "xid",
        "'4000000000'",
        "xid is 4000000000, but must be left to its default",
    ),
    (
        "xid",
        "'18446744073709551615'",
        "xid is 18446744073709551615",
    ),
    (
        "seq",
        "9223372036854775807",
        "seq is 9223372036854775807, but must be left",
    ),
    (
        "seq",
        "1790000000000000",
        "seq is 1790000000000000, but must be left",
    ),
];

#[tokio::test]
async fn a_row_beyond_a_limit_is_refused_and_the_limit_is_named() {
    let own = Own::in_schema("outbox");
    let mut connection = own.connect().await;
    for (column, value, named) in BEYOND {
        let (columns, values) = with(column, value);
        let text = refusal(&mut connection, &columns, &values).await;
        assert!(text.contains(named), "{column} = {value}: {text}");
    }
    let left = own
        .open()
        .await
        .claim(ClaimLimit::events(ALL), LEASE)
        .await
        .expect("claimed");
    assert_eq!(left.events.len(), 0);
}

/// In a session that has inserted a row, and in one that has not.
#[tokio::test]
async fn a_seq_that_was_passed_is_refused() {
    let own = Own::in_schema("outbox");
    let store = own.open().await;
    let events: Vec<Event> = (0..50).map(|_| Event::new("passed", "")).collect();
    own.append(&events).await;
    publish_all(&store).await;
    let mut connection = own.connect().await;
    let (columns, values) = with("seq", "3");
    refusal(&mut connection, &columns, &values).await;
    let (plain, value) = with("event_type", "'plain'");
    insert(&mut connection, &plain, &value)
        .await
        .expect("inserted");
    let text = refusal(&mut connection, &columns, &values).await;
    assert!(
        text.contains("seq is 3, but must be left to its default"),
        "{text}"
    );
    assert_eq!(publish_all(&store).await, 1);
}

async fn publish_all(store: &PostgresStore) -> usize {
    let mut published = 0;
    loop {
        let claim = store
            .claim(ClaimLimit::events(ALL), LEASE)
            .await
            .expect("claimed");
        if claim.events.is_empty() {
            return published;
        }
        let outcomes = each(&claim, &Outcome::Published);
        store.settle(claim.token, &outcomes).await.expect("settled");
        published += claim.events.len();
    }
}

/// Bytes that do not compress, as hexadecimal text of so many characters.
fn dense(length: usize) -> String {
    format!(
        "(SELECT left(string_agg(md5(random()::text), ''), {length}) FROM generate_series(0, {length} / 32))"
    )
}

/// A retry, a quarantine, a replay and a publication.
#[tokio::test]
async fn a_row_within_its_limits_is_retried_quarantined_replayed_and_published() {
    let own = Own::in_schema("outbox");
    let mut connection = own.connect().await;
    let dense_key = dense(8192);
    let rows = [
        ("event_type", dense(1024)),
        ("content_type", dense(1024)),
        ("ordering_key", dense_key.clone()),
        ("ordering_key", dense_key),
        ("ordering_key", "''".to_owned()),
        ("ordering_key", "NULL".to_owned()),
        ("idempotency_token", dense(1024)),
        ("idempotency_token", "''".to_owned()),
        ("created_at", "'1980-01-01 00:00:00+00'".to_owned()),
        ("created_at", "'9999-12-31 23:59:59.999999+00'".to_owned()),
        ("available_at", "'1980-01-01 00:00:00+00'".to_owned()),
        ("headers", "'{}'".to_owned()),
        (
            "headers",
            r#"'{"a":1,"a":2,"b":{"c":[null,1e400]},"d":"\u00e9\ud83d\ude00","":""}'"#.to_owned(),
        ),
        (
            "headers",
            r#"('{"deep":' || repeat('[', 200) || repeat(']', 200) || '}')::json"#.to_owned(),
        ),
        (
            "headers",
            "json_build_object('long', repeat(chr(1), 1048572))".to_owned(),
        ),
        ("payload", "''".to_owned()),
        ("payload", r"'\x0001ff'".to_owned()),
        ("replays", "1000".to_owned()),
    ];
    let mut keyed = Vec::new();
    for (column, value) in &rows {
        let (columns, values) = with(column, value);
        insert(&mut connection, &columns, &values)
            .await
            .expect(value);
        keyed.push(values);
    }
    let store = own.open().await.block_key_on_dead_letter();
    let (delay, error) = (Duration::from_secs(60), "refused".into());
    let retry = Outcome::Retry { delay, error };
    settle_all(&store, &retry).await;
    own.elapse(2 * delay).await;
    settle_all(
        &store,
        &Outcome::Released {
            delay: Duration::ZERO,
        },
    )
    .await;
    let dead = Outcome::Dead {
        reason: "never".into(),
    };
    let mut buried = 0;
    while buried < rows.len() {
        buried += settle_all(&store, &dead).await;
        store
            .replay(&DeadLetterFilter::all(), 1)
            .await
            .expect("replayed");
        own.elapse(delay).await;
    }
    let all = DeadLetterFilter::all();
    for dead_letter in store.list(&all, None, 100).await.expect("listed") {
        store
            .find(dead_letter.id)
            .await
            .expect("found")
            .expect("there");
    }
    store.statistics(&all, 100).await.expect("grouped");
    store.backlog().await.expect("read");
    let mut published = 0;
    for _ in 0..3 * rows.len() {
        store.replay(&all, 100).await.expect("replayed");
        own.elapse(delay).await;
        published += settle_all(&store, &Outcome::Published).await;
    }
    assert_eq!(published, rows.len());
    while store.clean_up(100).await.expect("cleaned up") > 0 {}
}

/// Settles all events of one claim with the same outcome.
async fn settle_all(store: &PostgresStore, outcome: &Outcome) -> usize {
    let claim = store
        .claim(ClaimLimit::events(ALL), LEASE)
        .await
        .expect("claimed");
    if claim.events.is_empty() {
        return 0;
    }
    let outcomes = each(&claim, outcome);
    store.settle(claim.token, &outcomes).await.expect("settled");
    claim.events.len()
}

/// An operator may also change the other tables by hand.
#[tokio::test]
async fn an_infinite_time_in_another_table_stops_no_call() {
    let own = Own::in_schema("outbox");
    let store = own.open().await;
    own.append(&[Event::new("retried", ""), Event::new("other", "")])
        .await;
    let (delay, error) = (Duration::from_secs(60), "refused".into());
    assert_eq!(
        settle_all(&store, &Outcome::Retry { delay, error }).await,
        2
    );
    for time in ["infinity", "-infinity", "294276-01-01", "4713-01-01 BC"] {
        own.execute(&format!(
            "UPDATE outbox.outbox_retries SET due_at = '{time}', available_at = '{time}',
                                              created_at = '{time}'"
        ))
        .await;
        store.backlog().await.expect("read");
        store
            .wait_for_work(Duration::from_millis(1))
            .await
            .expect("waited");
        settle_all(
            &store,
            &Outcome::Released {
                delay: Duration::ZERO,
            },
        )
        .await;
    }
}

/// Wrong times of a program are refused, and not written as infinity.
#[tokio::test]
async fn an_append_refuses_what_the_log_refuses() {
    let own = Own::in_schema("outbox");
    let mut connection = own.connect().await;
    let event = || Event::new("x", "");
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000_000);
    let farther = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 62);
    for (event, named) in [
        (event().available_at(far), "available_at"),
        (event().available_at(farther), "available_at"),
        (event().created_at(SystemTime::UNIX_EPOCH), "created_at"),
        (event().ordering_key("x".repeat(8193)), "ordering key"),
        (event().content_type(""), "content type"),
    ] {
        let appended = own.appender().append(&mut connection, &[event]).await;
        let error = appended.expect_err(named);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(named), "{error}");
    }
    connection
        .execute("SELECT 1")
        .await
        .expect("no statement failed");
    connection.close().await.expect("closed");
}
