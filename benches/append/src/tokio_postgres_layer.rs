//! tokio-postgres: the statement of one row, and arrays for several.

use crate::compare::{Failure, Layer};
use outbox_append_tokio_postgres::{Appender, Schema, append};
use outbox_core::Event;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, Statement};

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

const TYPES: [Type; 9] = [
    Type::UUID,
    Type::TEXT,
    Type::BYTEA,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMPTZ,
];
const ARRAYS: [Type; 9] = [
    Type::UUID_ARRAY,
    Type::TEXT_ARRAY,
    Type::BYTEA_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TIMESTAMPTZ_ARRAY,
    Type::TIMESTAMPTZ_ARRAY,
];

pub(crate) async fn connect(url: &str) -> Result<Client, Failure> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

impl Layer for Client {
    const NAME: &'static str = "tokio-postgres";
    const WAYS: &'static [&'static str] = &["append", "execute", "execute_typed"];

    async fn insert(&mut self, way: usize, events: &[Event]) -> Result<(), Failure> {
        let mut transaction = self.transaction().await?;
        if way == 0 {
            append(&mut transaction, &Schema::default(), events).await?;
            return Ok(transaction.commit().await?);
        }
        let columns = values(events);
        let values: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|value| &**value).collect();
        let (sql, types) = match events {
            [_] => (ONE, TYPES),
            _ => (MANY, ARRAYS),
        };
        if way == 1 {
            transaction.execute(sql, &values).await?;
        } else {
            let typed: Vec<_> = values.into_iter().zip(types).collect();
            transaction.execute_typed(sql, &typed).await?;
        }
        Ok(transaction.commit().await?)
    }
}

/// With statements that were prepared once, for one row and for several.
pub(crate) struct Prepared {
    client: Client,
    appender: Appender,
    one: Statement,
    many: Statement,
}

pub(crate) async fn prepare(url: &str) -> Result<Prepared, Failure> {
    let client = connect(url).await?;
    Ok(Prepared {
        appender: Appender::prepare(&client, &Schema::default()).await?,
        one: client.prepare(ONE).await?,
        many: client.prepare(MANY).await?,
        client,
    })
}

impl Layer for Prepared {
    const NAME: &'static str = "tokio-postgres, prepared once";
    const WAYS: &'static [&'static str] = &["Appender", "execute"];

    async fn insert(&mut self, way: usize, events: &[Event]) -> Result<(), Failure> {
        let mut transaction = self.client.transaction().await?;
        if way == 0 {
            self.appender.append(&mut transaction, events).await?;
        } else {
            let columns = values(events);
            let values: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|value| &**value).collect();
            let statement = match events {
                [_] => &self.one,
                _ => &self.many,
            };
            transaction.execute(statement, &values).await?;
        }
        Ok(transaction.commit().await?)
    }
}

/// The values of one row, or an array for each column.
fn values<'e>(events: &'e [Event]) -> Vec<Box<dyn ToSql + Sync + 'e>> {
    match events {
        [event] => vec![
            Box::new(*event.id.as_uuid()),
            Box::new(&event.event_type),
            Box::new(&event.payload[..]),
            Box::new(&event.content_type),
            Box::new(None::<&str>),
            Box::new(&event.ordering_key),
            Box::new(&event.idempotency_token),
            Box::new(event.created_at),
            Box::new(event.available_at),
        ],
        events => vec![
            column(events, |event| *event.id.as_uuid()),
            column(events, |event| &event.event_type),
            column(events, |event| &event.payload[..]),
            column(events, |event| &event.content_type),
            column(events, |_| None::<&str>),
            column(events, |event| &event.ordering_key),
            column(events, |event| &event.idempotency_token),
            column(events, |event| event.created_at),
            column(events, |event| event.available_at),
        ],
    }
}

fn column<'e, T: ToSql + Sync + 'e>(
    events: &'e [Event],
    field: impl Fn(&'e Event) -> T,
) -> Box<dyn ToSql + Sync + 'e> {
    Box::new(events.iter().map(field).collect::<Vec<T>>())
}
