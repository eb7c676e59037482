//! The log refuses invalid values with a clear message, and delivers every value that it accepts.

use crate::{Place, ids, truncated};
use outbox_core::{Event, Outcome};
use std::time::{Duration, SystemTime};

/// Columns and values of a plain insert, and the message of the refusal.
const REFUSED: &[(&str, &str, &str)] = &[
    ("seq", "7", "seq is given by the table; leave it out"),
    (
        "seq, replays",
        "7, 1",
        "seq is given by the table; leave it out",
    ),
    (
        "seq",
        "1790000000000000",
        "seq is given by the table; leave it out",
    ),
    (
        "seq",
        "9223372036854775807",
        "seq is given by the table; leave it out",
    ),
    ("seq", "0", "seq is given by the table"),
    ("seq", "-1", "seq is given by the table"),
    ("seq", "'7'", "seq is given by the table"),
    ("rowid", "7", "seq is given by the table; leave it out"),
    ("id", "x'00'", "id has 16 bytes"),
    ("id", "'0123456789abcdef'", "BLOB"),
    ("id", "NULL", "NOT NULL"),
    ("content_type", "''", "content_type has 1 to 1024 bytes"),
    (
        "content_type",
        "printf('%1025d', 1)",
        "content_type has 1 to 1024 bytes",
    ),
    (
        "ordering_key",
        "printf('%8193d', 1)",
        "ordering_key has up to 8192 bytes",
    ),
    (
        "ordering_key",
        "'a' || char(0)",
        "ordering_key has up to 8192 bytes and no NUL",
    ),
    ("ordering_key", "x'00'", "TEXT"),
    (
        "idempotency_token",
        "printf('%1025d', 1)",
        "idempotency_token has up to 1024 bytes",
    ),
    (
        "idempotency_token",
        "char(0)",
        "idempotency_token has up to 1024 bytes and no NUL",
    ),
    ("created_at", "1767225600", "created_at is in microseconds"),
    ("created_at", "-1", "created_at is in microseconds"),
    ("created_at", "'2026-01-01'", "INTEGER"),
    (
        "available_at",
        "1767225600",
        "available_at is in microseconds",
    ),
    (
        "available_at",
        "1767225600000",
        "available_at is in microseconds",
    ),
    (
        "available_at",
        "1767225600000000000",
        "available_at is in microseconds",
    ),
    (
        "available_at",
        "9223372036854775807",
        "available_at is in microseconds",
    ),
    ("available_at", "'tomorrow'", "INTEGER"),
    ("available_at", "1.5", "INTEGER"),
    ("available_at", "9e999", "INTEGER"),
    ("replays", "-1", "replays is 0 to 4294967295"),
    ("replays", "4294967296", "replays is 0 to 4294967295"),
    ("headers", "'[]'", "headers is a JSON object"),
    ("headers", "'null'", "headers is a JSON object"),
    ("headers", "'no'", "headers is a JSON object"),
    ("headers", "''", "headers is a JSON object"),
    ("headers", "NULL", "NOT NULL"),
    (
        "headers",
        "'{\"a\":\"\\u0000\"}'",
        "headers is a JSON object without a NUL",
    ),
    (
        "headers",
        "'{\"a\":\"\\\\\\u0000\"}'",
        "headers is a JSON object without a NUL",
    ),
    (
        "headers",
        "json_object('a', printf('%1048576d', 1))",
        "headers have up to 1 MiB",
    ),
];

#[tokio::test]
async fn each_value_outside_its_limits_is_refused_with_its_column() {
    let place = Place::new().await;
    let connection = place.connect();
    let refused = |insert: &str, reason: &str| {
        let error = connection.execute(insert, []).unwrap_err().to_string();
        assert!(error.contains(reason), "{insert}: {error}");
    };
    for (columns, values, reason) in REFUSED {
        let insert = format!(
            "INSERT INTO outbox_events (event_type, payload, {columns}) VALUES ('t', 'x', {values})"
        );
        refused(&insert, reason);
    }
    for (event_type, payload, reason) in [
        ("''", "'x'", "event_type has 1 to 1024 bytes"),
        (
            "printf('%1025d', 1)",
            "'x'",
            "event_type has 1 to 1024 bytes",
        ),
        (
            "char(0)",
            "'x'",
            "event_type has 1 to 1024 bytes and no NUL",
        ),
        ("NULL", "'x'", "NOT NULL"),
        ("'t'", "1", "payload is BLOB or TEXT"),
        ("'t'", "NULL", "NOT NULL"),
    ] {
        let insert = format!(
            "INSERT INTO outbox_events (event_type, payload) VALUES ({event_type}, {payload})"
        );
        refused(&insert, reason);
    }
    assert_eq!(place.number("SELECT count(*) FROM outbox_events"), 0);
    place.append(&[Event::new("t", "x")]);
    assert_eq!(place.number("SELECT max(seq) FROM outbox_events"), 1);
}

#[tokio::test]
async fn the_largest_fields_are_accepted_and_delivered_exactly() {
    let place = Place::new().await;
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let largest = Event::new("é".repeat(512), Vec::new())
        .content_type("x".repeat(1024))
        .ordering_key("\u{1}".repeat(8192))
        .idempotency_token("x".repeat(1024))
        .header("x", "\u{1}".repeat(1024 * 1024 - 1))
        .created_at(at(253_402_300_799))
        .available_at(at(315_532_800));
    let slashes = Event::new("t", "x").header("\\u0000", "\\\\u0000");
    let events = [largest, slashes].map(truncated);
    place.append(&events);
    let claim = place.claim(10).await;
    let claimed: Vec<_> = claim.events.iter().map(|one| one.event.clone()).collect();
    assert!(claimed == events, "an event was changed");
    let reason = "x".into();
    place.settle_all(&claim, &Outcome::Dead { reason }).await;
    assert_eq!(place.replay_all().await, 2);
    assert_eq!(ids(&place.claim(10).await).len(), 2);
}

#[tokio::test]
async fn the_table_gives_numbers_to_single_and_multiple_rows() {
    let place = Place::new().await;
    place.execute(
        "INSERT INTO outbox_events (id, event_type, payload) VALUES (zeroblob(16), 't', 'x');
         INSERT OR IGNORE INTO outbox_events (id, event_type, payload) VALUES
             (zeroblob(16), 't', 'x'), (zeroblob(16), 't', 'x'), (randomblob(16), 't', 'x');
         INSERT INTO outbox_events (id, event_type, payload) VALUES
             (zeroblob(16), 't', 'x'), (randomblob(16), 't', 'x')
             ON CONFLICT DO NOTHING;
         INSERT INTO outbox_events (seq, event_type, payload) VALUES (NULL, 't', 'x');
         INSERT INTO outbox_events (event_type, payload)
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 96)
             SELECT 't', 'x' FROM n;",
    );
    assert_eq!(place.drain().await.len(), 100);
}

#[tokio::test]
async fn a_row_number_cannot_be_changed() {
    let place = Place::new().await;
    place.append(&[Event::new("t", "x"), Event::new("t", "x")]);
    for update in ["seq = 9", "seq = seq + 100", "rowid = 9"] {
        let update = format!("UPDATE outbox_events SET {update} WHERE seq = 2");
        let error = place
            .connect()
            .execute(&update, [])
            .unwrap_err()
            .to_string();
        assert!(error.contains("do not change it"), "{update}: {error}");
    }
    assert_eq!(place.drain().await.len(), 2);
}
