//! The tables of one adapter, and their migrations on a connection. The table `outbox_migrations` has a
//! row for each migration of each component.

use crate::error::{postgres_error, refusal, sqlstate};
use crate::schema::SchemaSql;
use outbox_append_postgres::Schema;
use outbox_core::{ErrorKind, OutboxError};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::time::Duration;

pub(crate) const MIGRATE: &str = "migrate";
pub(crate) const OPEN: &str = "open";
pub(crate) const APPLIED: &str = "applied_migrations";
const MIGRATIONS: &str = include_str!("sql/migrations.sql");
const TABLE: &str = "outbox_migrations";

/// How long a migration may take, including the wait for other processes that migrate.
pub(crate) const LONGEST: Duration = Duration::from_secs(600);

/// PostgreSQL 13: the first with `pg_current_xact_id`, and the oldest that is tested.
const OLDEST: i32 = 130_000;

/// The tables of one adapter: a store, a heap or an inbox.
#[derive(Clone, Copy, Debug)]
pub struct Component {
    /// The name in the table `outbox_migrations`.
    pub name: &'static str,
    /// The tables and views that the migrations create.
    pub tables: &'static [&'static str],
    /// The migrations, oldest first. They name each table as `outbox.outbox_…`.
    pub migrations: &'static [&'static str],
}

/// Applies the migrations that are missing.
pub(crate) async fn apply_missing(
    connection: &mut PgConnection,
    schema: &Schema,
    component: &Component,
) -> Result<(), OutboxError> {
    let (name, migrations) = (component.name, component.migrations);
    check_server(connection, MIGRATE).await?;
    prepare(connection, schema).await?;
    refuse_hidden_rows(connection, schema, component, MIGRATE).await?;
    let (recorded, found) = applied(connection, schema, component, MIGRATE).await?;
    if recorded.is_none() && found > 0 {
        let text = "outbox_migrations was emptied; the existing tables are kept";
        tracing::warn!(component = name, "{text}");
        for version in (1..).take(found) {
            record(connection, schema, name, version).await?;
        }
    }
    for (version, migration) in (1..).zip(migrations).skip(found) {
        apply(connection, schema, name, version, migration).await?;
    }
    require_tables(connection, schema, component.tables, MIGRATE).await
}

/// How many migrations of the component the schema has.
pub(crate) async fn applied_here(
    connection: &mut PgConnection,
    schema: &Schema,
    component: &Component,
) -> Result<usize, OutboxError> {
    check_server(connection, APPLIED).await?;
    refuse_hidden_rows(connection, schema, component, APPLIED).await?;
    let (_, found) = applied(connection, schema, component, APPLIED).await?;
    Ok(found)
}

/// The version of the component's tables. Fails if it is the newest, but a table is missing.
pub(crate) async fn version_here(
    connection: &mut PgConnection,
    schema: &Schema,
    component: &Component,
) -> Result<Option<u32>, OutboxError> {
    check_server(connection, OPEN).await?;
    refuse_hidden_rows(connection, schema, component, OPEN).await?;
    let found = version(connection, schema, component.name, OPEN).await?;
    if found == Some(number(component.migrations.len())) {
        require_tables(connection, schema, component.tables, OPEN).await?;
    }
    Ok(found)
}

/// The migrations of a component as a script for psql.
pub(crate) fn script(schema: &Schema, component: &Component) -> String {
    let name = component.name.replace('\'', "''");
    let mut script = format!(
        "BEGIN;\nCREATE SCHEMA IF NOT EXISTS {};\n{}",
        schema.quoted(),
        schema.write(MIGRATIONS)
    );
    for (version, migration) in (1..).zip(component.migrations) {
        script.push_str(&schema.write(migration));
        let row = include_str!("sql/set_version.sql")
            .replace("($1, $2)", &format!("('{name}', {version});"));
        script.push_str(&schema.write(&row));
    }
    script + "COMMIT;\n"
}

async fn check_server(
    connection: &mut PgConnection,
    operation: &'static str,
) -> Result<(), OutboxError> {
    let (number, version, encoding, isolation): (i32, String, String, String) =
        sqlx::query_as(include_str!("sql/server.sql"))
            .fetch_one(connection)
            .await
            .map_err(postgres_error(operation))?;
    match explain_server(number, &version, &encoding, &isolation) {
        Some(text) => Err(refusal(ErrorKind::Invalid, operation, text)),
        None => Ok(()),
    }
}

/// Why the adapters cannot use the server.
fn explain_server(number: i32, version: &str, encoding: &str, isolation: &str) -> Option<String> {
    if number < OLDEST {
        return Some(format!(
            "the server is PostgreSQL {version}; 13 or newer is needed"
        ));
    }
    if encoding != "UTF8" {
        return Some(format!(
            "the database's encoding is {encoding}; create one with ENCODING 'UTF8'"
        ));
    }
    (isolation != "read committed").then(|| {
        format!("default_transaction_isolation is {isolation}; set it to 'read committed'")
    })
}

/// Takes the lock, and creates the schema and the table of migrations if they are missing.
async fn prepare(connection: &mut PgConnection, schema: &Schema) -> Result<(), OutboxError> {
    let error = postgres_error(MIGRATE);
    sqlx::query(include_str!("sql/lock.sql"))
        .bind(schema.name())
        .execute(&mut *connection)
        .await
        .map_err(&error)?;
    // CREATE … IF NOT EXISTS needs the right to create even if there is nothing to create.
    let (has_schema, has_table) = exists(connection, schema, TABLE, MIGRATE).await?;
    if !has_schema {
        let create = format!("CREATE SCHEMA {}", schema.quoted());
        connection
            .execute(AssertSqlSafe(create))
            .await
            .map_err(&error)?;
    }
    if !has_table {
        sqlx::raw_sql(schema.sql(MIGRATIONS))
            .execute(connection)
            .await
            .map_err(&error)?;
    }
    Ok(())
}

/// The recorded version, and how many migrations the schema has. Refuses tables that belong to another
/// program or to a newer one. Tables with exactly the columns of the migrations are ours even if no
/// version is recorded: the rows of all tables were deleted.
async fn applied(
    connection: &mut PgConnection,
    schema: &Schema,
    component: &Component,
    operation: &'static str,
) -> Result<(Option<u32>, usize), OutboxError> {
    let Some(found) = version(connection, schema, component.name, operation).await? else {
        if is_ours(connection, schema, component, operation).await? {
            return Ok((None, component.migrations.len()));
        }
        refuse_foreign_tables(connection, schema, component.tables, operation).await?;
        return Ok((None, 0));
    };
    let newest = number(component.migrations.len());
    if found > newest {
        return Err(newer(component.name, found, newest, operation));
    }
    Ok((Some(found), found as usize))
}

async fn apply(
    connection: &mut PgConnection,
    schema: &Schema,
    component: &str,
    version: i32,
    migration: &str,
) -> Result<(), OutboxError> {
    let error = postgres_error(MIGRATE);
    sqlx::raw_sql(schema.sql(migration))
        .execute(&mut *connection)
        .await
        .map_err(&error)?;
    record(connection, schema, component, version).await
}

/// Records that a migration was applied.
async fn record(
    connection: &mut PgConnection,
    schema: &Schema,
    component: &str,
    version: i32,
) -> Result<(), OutboxError> {
    sqlx::query(schema.sql(include_str!("sql/set_version.sql")))
        .bind(component)
        .bind(version)
        .execute(connection)
        .await
        .map(drop)
        .map_err(postgres_error(MIGRATE))
}

/// Whether all tables of a component have the columns that its migrations create. Applies the migrations
/// in a temporary schema, and rolls that back.
async fn is_ours(
    connection: &mut PgConnection,
    schema: &Schema,
    component: &Component,
    operation: &'static str,
) -> Result<bool, OutboxError> {
    let error = postgres_error(operation);
    let tables = component.tables;
    let here = columns(connection, schema, tables).await.map_err(&error)?;
    let missing = missing(connection, schema, tables, operation).await?;
    if here.is_empty() || !missing.is_empty() {
        return Ok(false);
    }
    connection
        .execute("SAVEPOINT outbox_beside")
        .await
        .map_err(&error)?;
    let beside = create_beside(connection, component).await;
    connection
        .execute("ROLLBACK TO SAVEPOINT outbox_beside")
        .await
        .map_err(&error)?;
    Ok(beside.is_ok_and(|beside| beside == here))
}

async fn create_beside(
    connection: &mut PgConnection,
    component: &Component,
) -> sqlx::Result<Vec<String>> {
    let beside = Schema::new("outbox_beside").map_err(|error| sqlx::Error::Decode(error.into()))?;
    let create = format!("CREATE SCHEMA {}", beside.quoted());
    connection.execute(AssertSqlSafe(create)).await?;
    for migration in component.migrations {
        sqlx::raw_sql(beside.sql(migration))
            .execute(&mut *connection)
            .await?;
    }
    columns(connection, &beside, component.tables).await
}

/// The columns of the tables, each as text.
async fn columns(
    connection: &mut PgConnection,
    schema: &Schema,
    tables: &[&str],
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(include_str!("sql/columns.sql"))
        .bind(schema.name())
        .bind(tables)
        .fetch_all(connection)
        .await
}

async fn require_tables(
    connection: &mut PgConnection,
    schema: &Schema,
    tables: &[&str],
    operation: &'static str,
) -> Result<(), OutboxError> {
    let missing = missing(connection, schema, tables, operation).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let text = format!(
        "the schema {:?} was migrated, but lacks {}; restore it from a backup, or drop the schema and \
         run `outbox migrate`",
        schema.name(),
        missing.join(", ")
    );
    Err(refusal(ErrorKind::Invalid, operation, text))
}

/// The tables that are missing.
async fn missing(
    connection: &mut PgConnection,
    schema: &Schema,
    tables: &[&str],
    operation: &'static str,
) -> Result<Vec<String>, OutboxError> {
    sqlx::query_scalar(include_str!("sql/missing.sql"))
        .bind(schema.name())
        .bind(tables)
        .fetch_all(connection)
        .await
        .map_err(postgres_error(operation))
}

async fn version(
    connection: &mut PgConnection,
    schema: &Schema,
    component: &str,
    operation: &'static str,
) -> Result<Option<u32>, OutboxError> {
    if !exists(connection, schema, TABLE, operation).await?.1 {
        return Ok(None);
    }
    let found: Option<i32> = sqlx::query_scalar(schema.sql(include_str!("sql/version.sql")))
        .bind(component)
        .fetch_one(connection)
        .await
        .map_err(|error| match sqlstate(&error).as_deref() {
            Some("42703" | "42883" | "42P18") => foreign(schema, TABLE, operation),
            _ => postgres_error(operation)(error),
        })?;
    Ok(found.map(i32::unsigned_abs))
}

/// Refuses tables with row level security for this role. With hidden rows, the tables would look as if
/// they were never migrated, or the outbox as if it had no events.
async fn refuse_hidden_rows(
    connection: &mut PgConnection,
    schema: &Schema,
    component: &Component,
    operation: &'static str,
) -> Result<(), OutboxError> {
    let tables: Vec<&str> = [&[TABLE], component.tables].concat();
    let hidden: Vec<String> = sqlx::query_scalar(include_str!("sql/row_security.sql"))
        .bind(schema.name())
        .bind(tables)
        .fetch_all(connection)
        .await
        .map_err(postgres_error(operation))?;
    if hidden.is_empty() {
        return Ok(());
    }
    let text = format!(
        "row level security may hide rows of {} in the schema {:?} from this role; disable it for these \
         tables, or give the role BYPASSRLS",
        hidden.join(", "),
        schema.name()
    );
    Err(refusal(ErrorKind::Invalid, operation, text))
}

async fn refuse_foreign_tables(
    connection: &mut PgConnection,
    schema: &Schema,
    tables: &[&str],
    operation: &'static str,
) -> Result<(), OutboxError> {
    for table in tables {
        if exists(connection, schema, table, operation).await?.1 {
            return Err(foreign(schema, table, operation));
        }
    }
    Ok(())
}

/// Whether the schema exists, and the table in it.
async fn exists(
    connection: &mut PgConnection,
    schema: &Schema,
    table: &str,
    operation: &'static str,
) -> Result<(bool, bool), OutboxError> {
    sqlx::query_as(include_str!("sql/exists.sql"))
        .bind(schema.name())
        .bind(table)
        .fetch_one(connection)
        .await
        .map_err(postgres_error(operation))
}

fn foreign(schema: &Schema, table: &str, operation: &'static str) -> OutboxError {
    refusal(
        ErrorKind::Invalid,
        operation,
        format!(
            "the schema {:?} has a table {table} of another program; rename the table or use another \
             schema",
            schema.name()
        ),
    )
}

pub(crate) fn newer(
    component: &str,
    found: u32,
    newest: u32,
    operation: &'static str,
) -> OutboxError {
    refusal(
        ErrorKind::Invalid,
        operation,
        format!(
            "the tables of {component} are of version {found}, this program knows {newest}; \
             use a newer program"
        ),
    )
}

pub(crate) fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_cannot_be_used_is_named_with_what_is_needed() {
        let explain = |number, encoding, isolation| {
            explain_server(number, "12.22", encoding, isolation).unwrap_or_default()
        };
        assert_eq!(explain(130_000, "UTF8", "read committed"), "");
        for (text, found, allowed) in [
            (explain(120_022, "UTF8", "read committed"), "12.22", "13"),
            (
                explain(150_000, "LATIN1", "read committed"),
                "LATIN1",
                "UTF8",
            ),
            (
                explain(150_000, "UTF8", "serializable"),
                "serializable",
                "read committed",
            ),
        ] {
            assert!(text.contains(found) && text.contains(allowed), "{text}");
        }
    }
}
