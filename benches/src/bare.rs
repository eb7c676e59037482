//! The limit: a bare cursor. It selects the next rows by an index and updates one position, as fast as the
//! server and the driver do that. It has no leases, no retries, no order of commits, and only one reader.

use crate::Failure;
use crate::server::Postgres;
use outbox_store_postgres::sqlx::{self, Connection, Executor, PgConnection, Row};

const CREATE: &str = "DROP TABLE IF EXISTS bare_cursor;
                      CREATE TABLE bare_cursor (lane smallint PRIMARY KEY, position bigint NOT NULL)
                      WITH (fillfactor = 10);
                      INSERT INTO bare_cursor SELECT generate_series(0, 15), 0;
                      SET synchronous_commit = off";

const SELECT: &str = "SELECT seq, id, event_type, payload, content_type, headers, ordering_key,
                             idempotency_token, created_at, available_at
                      FROM outbox.outbox_log
                      WHERE lane = $1 AND seq > $2
                      ORDER BY seq
                      LIMIT $3";

const UPDATE: &str = "UPDATE bare_cursor SET position = $2 WHERE lane = $1";

/// A connection and the table of the positions.
pub(crate) async fn connect(postgres: &Postgres) -> Result<PgConnection, Failure> {
    let mut connection = PgConnection::connect(postgres.url()).await?;
    connection.execute(CREATE).await?;
    Ok(connection)
}

/// Reads all rows of the log, in batches. Returns how many.
pub(crate) async fn drain(mut connection: PgConnection, batch: usize) -> Result<usize, Failure> {
    let limit = i64::try_from(batch)?;
    let mut read = 0;
    for lane in 0..16_i16 {
        let mut position = 0_i64;
        loop {
            let select = sqlx::query(SELECT).bind(lane).bind(position).bind(limit);
            let rows = select.fetch_all(&mut connection).await?;
            let Some(last) = rows.last() else {
                break;
            };
            position = last.try_get(0)?;
            let update = sqlx::query(UPDATE).bind(lane).bind(position);
            update.execute(&mut connection).await?;
            read += rows.len();
        }
    }
    Ok(read)
}
