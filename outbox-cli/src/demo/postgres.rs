//! The shop in a schema of a PostgreSQL database.

use super::shop::{COUNT_ROWS, End, Order, Place, Shop};
use crate::failure::Failure;
use crate::wiring::{self, Database, STORE};
use async_trait::async_trait;
use outbox_core::Event;
use outbox_driver_postgres::Schema;
use outbox_driver_postgres::sqlx::postgres::PgDatabaseError;
use outbox_driver_postgres::sqlx::{self, AssertSqlSafe, Executor, PgConnection};
use outbox_store_postgres::Appender;

/// The demo's schema, unless the URL names another.
const SCHEMA: &str = "outbox_demo";

/// The comment on a schema of the demo's, so that no other schema is ever dropped.
const MARK: &str = "Created by outbox demo. Each run drops this schema and creates it again.";

const TABLES: &str = "
    CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint NOT NULL, ordered_at text NOT NULL);
    CREATE TABLE order_lines (
        order_id bigint NOT NULL REFERENCES orders, track bigint NOT NULL, title text NOT NULL,
        quantity bigint NOT NULL
    );
    CREATE TABLE payments (
        order_id bigint PRIMARY KEY REFERENCES orders, amount double precision NOT NULL
    );";

struct PostgresShop {
    connection: PgConnection,
    appender: Appender,
}

/// Makes the shop in its schema; drops the one of an earlier run.
pub(super) async fn afresh(url: &str) -> Result<Place, Failure> {
    if !Database::is_url(url) {
        wiring::backend(STORE, url)?;
        let message =
            "the demo's store must be postgres://USER@HOST/DATABASE; for SQLite pass --dir";
        return Err(Failure::Input(message.to_owned()));
    }
    let url = wiring::with_schema(url, SCHEMA);
    let database = Database::parse(STORE, &url)?;
    if database.is_through_pgbouncer() {
        let message = "the demo's store has pgbouncer=true; the demo needs the server itself";
        return Err(Failure::Input(message.to_owned()));
    }
    let mut connection = database.connect().await?;
    prepare(&mut connection, &database, TABLES).await?;
    Ok(Place {
        shop: Box::new(PostgresShop {
            connection,
            appender: Appender::new(database.schema()),
        }),
        name: format!("the schema {:?}", database.schema().name()),
        shown: database.shown().to_owned(),
        hides_password: database.hides_password(),
        url,
    })
}

/// Creates a schema of the demo's with these tables; drops the one of an earlier run.
pub(super) async fn prepare(
    connection: &mut PgConnection,
    database: &Database,
    tables: &str,
) -> Result<(), Failure> {
    let schema = database.schema();
    connection
        .execute("BEGIN; SET LOCAL lock_timeout = '10s'")
        .await?;
    let found: Option<(bool, String)> = sqlx::query_as(include_str!("sql/earlier.sql"))
        .bind(schema.name())
        .bind(MARK)
        .fetch_optional(&mut *connection)
        .await?;
    match found {
        None => {}
        Some((true, drop)) => {
            let drop = sqlx::raw_sql(AssertSqlSafe(drop));
            let dropped = drop.execute(&mut *connection).await;
            dropped.map_err(|error| explain(schema, error))?;
        }
        Some((false, _)) => {
            return Err(unusable(schema, "it is not of this demo"));
        }
    }
    let quoted = schema.quoted();
    let create = format!(
        "CREATE SCHEMA {quoted}; COMMENT ON SCHEMA {quoted} IS '{MARK}';
         SET search_path TO {quoted}; {tables} COMMIT"
    );
    sqlx::raw_sql(AssertSqlSafe(create))
        .execute(connection)
        .await?;
    Ok(())
}

/// Says who has built on the demo's tables.
fn explain(schema: &Schema, error: sqlx::Error) -> Failure {
    let said = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    match said.filter(|error| error.code() == "2BP01") {
        Some(error) => unusable(schema, error.detail().unwrap_or(error.message())),
        None => error.into(),
    }
}

fn unusable(schema: &Schema, why: &str) -> Failure {
    let (schema, why) = (schema.name(), why.replace('\n', "; "));
    Failure::Input(format!(
        "cannot use the schema {schema:?}: {why}; name another with ?schema=NAME"
    ))
}

#[async_trait]
impl Shop for PostgresShop {
    async fn write(&mut self, order: &Order, events: &[Event], end: End) -> Result<(), Failure> {
        let connection = &mut self.connection;
        connection.execute("BEGIN").await?;
        sqlx::query("INSERT INTO orders VALUES ($1, $2, $3)")
            .bind(order.order_id)
            .bind(order.customer_id)
            .bind(&order.ordered_at)
            .execute(&mut *connection)
            .await?;
        for line in &order.lines {
            sqlx::query("INSERT INTO order_lines VALUES ($1, $2, $3, $4)")
                .bind(order.order_id)
                .bind(line.track_id)
                .bind(&line.title)
                .bind(line.quantity)
                .execute(&mut *connection)
                .await?;
        }
        sqlx::query("INSERT INTO payments VALUES ($1, $2)")
            .bind(order.order_id)
            .bind(order.total)
            .execute(&mut *connection)
            .await?;
        self.appender.append(connection, events).await?;
        connection
            .execute(match end {
                End::Commit => "COMMIT",
                End::Rollback => "ROLLBACK",
            })
            .await?;
        Ok(())
    }

    async fn count_rows(&mut self) -> Result<i64, Failure> {
        Ok(sqlx::query_scalar(COUNT_ROWS)
            .fetch_one(&mut self.connection)
            .await?)
    }
}
