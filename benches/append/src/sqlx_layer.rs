//! sqlx: the statement of one row, arrays for several, and the `QueryBuilder`. The program of sqlx 0.8 includes
//! this file too; `ours` of the program is what differs.

use crate::compare::{Failure, Layer};
use crate::ours::sqlx::{self, Connection, PgConnection, Postgres, QueryBuilder};
use crate::ours::{self, PgTime, PgUuid};
use outbox_core::Event;

const ONE: &str = "
    INSERT INTO same
        (id, event_type, payload, content_type, headers, ordering_key, idempotency_token,
         created_at, available_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const MANY: &str = "
    INSERT INTO same
        (id, event_type, payload, content_type, headers, ordering_key, idempotency_token,
         created_at, available_at)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::text[],
                         $7::text[], $8::timestamptz[], $9::timestamptz[])";
const BUILT: &str = "
    INSERT INTO same
        (id, event_type, payload, content_type, headers, ordering_key, idempotency_token,
         created_at, available_at) ";

pub(crate) struct Sqlx(PgConnection);

pub(crate) async fn connect(url: &str) -> Result<Sqlx, Failure> {
    Ok(Sqlx(PgConnection::connect(url).await?))
}

impl Layer for Sqlx {
    const NAME: &'static str = ours::NAME;
    const WAYS: &'static [&'static str] = &["append", "unnest", "push_values"];

    async fn insert(&mut self, way: usize, events: &[Event]) -> Result<(), Failure> {
        let mut transaction = self.0.begin().await?;
        match (way, events) {
            (0, events) => ours::append(&mut transaction, events).await?,
            (1, [event]) => one(&mut transaction, event).await?,
            (1, events) => many(&mut transaction, events).await?,
            (_, events) => {
                let mut builder: QueryBuilder<Postgres> = QueryBuilder::new(BUILT);
                builder.push_values(events, |mut row, event| {
                    row.push_bind(PgUuid(*event.id.as_uuid()))
                        .push_bind(&event.event_type)
                        .push_bind(&event.payload[..])
                        .push_bind(&event.content_type)
                        .push_bind(None::<&str>)
                        .push_bind(&event.ordering_key)
                        .push_bind(&event.idempotency_token)
                        .push_bind(PgTime(event.created_at))
                        .push_bind(event.available_at.map(PgTime));
                });
                builder.build().execute(&mut *transaction).await?;
            }
        }
        Ok(transaction.commit().await?)
    }
}

async fn one(connection: &mut PgConnection, event: &Event) -> Result<(), Failure> {
    sqlx::query(ONE)
        .bind(PgUuid(*event.id.as_uuid()))
        .bind(&event.event_type)
        .bind(&event.payload[..])
        .bind(&event.content_type)
        .bind(None::<&str>)
        .bind(&event.ordering_key)
        .bind(&event.idempotency_token)
        .bind(PgTime(event.created_at))
        .bind(event.available_at.map(PgTime))
        .execute(connection)
        .await?;
    Ok(())
}

async fn many(connection: &mut PgConnection, events: &[Event]) -> Result<(), Failure> {
    sqlx::query(MANY)
        .bind(column(events, |event| PgUuid(*event.id.as_uuid())))
        .bind(column(events, |event| &*event.event_type))
        .bind(column(events, |event| &event.payload[..]))
        .bind(column(events, |event| &*event.content_type))
        .bind(column(events, |_| None::<&str>))
        .bind(column(events, |event| event.ordering_key.as_deref()))
        .bind(column(events, |event| event.idempotency_token.as_deref()))
        .bind(column(events, |event| PgTime(event.created_at)))
        .bind(column(events, |event| event.available_at.map(PgTime)))
        .execute(connection)
        .await?;
    Ok(())
}

fn column<'e, T>(events: &'e [Event], field: impl Fn(&'e Event) -> T) -> Vec<T> {
    events.iter().map(field).collect()
}
