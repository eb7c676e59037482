//! diesel: `insert_into` with a tuple for each row.

use crate::compare::{Failure, Layer};
use diesel::pg::data_types::PgTimestamp;
use diesel::prelude::*;
use outbox_append_diesel::{Schema, append};
use outbox_core::Event;
use std::time::{Duration, SystemTime};

diesel::table! {
    same (id) {
        id -> Uuid,
        event_type -> Text,
        payload -> Binary,
        content_type -> Text,
        headers -> Nullable<Text>,
        ordering_key -> Nullable<Text>,
        idempotency_token -> Nullable<Text>,
        created_at -> Timestamptz,
        available_at -> Nullable<Timestamptz>,
    }
}

/// A row as a tuple, whose type has no short name.
macro_rules! row {
    ($event:expr) => {{
        use $crate::diesel_layer::{same, timestamp};
        (
            same::id.eq(*$event.id.as_uuid()),
            same::event_type.eq(&$event.event_type),
            same::payload.eq(&$event.payload[..]),
            same::content_type.eq(&$event.content_type),
            same::headers.eq(None::<&str>),
            same::ordering_key.eq(&$event.ordering_key),
            same::idempotency_token.eq(&$event.idempotency_token),
            same::created_at.eq(timestamp($event.created_at)),
            same::available_at.eq($event.available_at.map(timestamp)),
        )
    }};
}
pub(crate) use row;

pub(crate) fn connect(url: &str) -> Result<PgConnection, Failure> {
    Ok(PgConnection::establish(url)?)
}

impl Layer for PgConnection {
    const NAME: &'static str = "diesel";
    const WAYS: &'static [&'static str] = &["append", "insert_into"];

    async fn insert(&mut self, way: usize, events: &[Event]) -> Result<(), Failure> {
        self.transaction(|connection| {
            match (way, events) {
                (0, events) => append(connection, &Schema::default(), events)?,
                (_, [event]) => {
                    let insert = diesel::insert_into(same::table).values(row!(event));
                    insert.execute(connection)?;
                }
                (_, events) => {
                    let rows: Vec<_> = events.iter().map(|event| row!(event)).collect();
                    diesel::insert_into(same::table)
                        .values(rows)
                        .execute(connection)?;
                }
            }
            Ok(())
        })
    }
}

/// A time after 2000.
pub(crate) fn timestamp(time: SystemTime) -> PgTimestamp {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_800);
    let since = time.duration_since(start).unwrap_or_default();
    PgTimestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
