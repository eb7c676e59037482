//! diesel-async: `insert_into` with a tuple for each row.

use crate::compare::{Failure, Layer};
use crate::diesel_layer::{row, same};
use diesel::ExpressionMethods;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use outbox_append_diesel_async::{Schema, append};
use outbox_core::Event;

pub(crate) async fn connect(url: &str) -> Result<AsyncPgConnection, Failure> {
    Ok(AsyncPgConnection::establish(url).await?)
}

impl Layer for AsyncPgConnection {
    const NAME: &'static str = "diesel-async";
    const WAYS: &'static [&'static str] = &["append", "insert_into"];

    async fn insert(&mut self, way: usize, events: &[Event]) -> Result<(), Failure> {
        let inserted = self.transaction(async |connection| -> Result<(), Failure> {
            match (way, events) {
                (0, events) => append(connection, &Schema::default(), events).await?,
                (_, [event]) => {
                    let insert = diesel::insert_into(same::table).values(row!(event));
                    insert.execute(connection).await?;
                }
                (_, events) => {
                    let rows: Vec<_> = events.iter().map(|event| row!(event)).collect();
                    let insert = diesel::insert_into(same::table).values(rows);
                    insert.execute(connection).await?;
                }
            }
            Ok(())
        });
        inserted.await
    }
}
