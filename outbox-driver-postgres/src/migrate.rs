//! The tables of one adapter, and their migrations on a connection. The table `outbox_migrations` has a
//! row for each migration of each component.

use crate::error::{postgres_error, refusal, sqlstate};
use crate::recorded::Recorded;
use crate::schema::SchemaSql;
use crate::server::check_server;
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

/// The tables of one adapter: a store, a heap or an inbox.
#[derive(Clone, Copy, Debug)]
pub struct Component {
    /// The name in the table `outbox_migrations`.
    pub name: &'static str,
    /// The tables and views that the migrations create.
    pub tables: &'static [&'static str],
    /// The migrations, oldest first. They name each table as `outbox.outbox_…`.
    pub migrations: &'static [&'static str],
    /// The oldest version whose programs may use the tables after all migrations: 1 while migrations only
    /// add. A migration that takes something away raises it, and it is never lowered.
    pub min_compatible: u32,
}

impl Component {
    /// The version that this program knows.
    pub(crate) fn newest(&self) -> u32 {
        u32::try_from(self.migrations.len()).unwrap_or(u32::MAX)
    }

    /// What a migration records: no version before it can be newer than itself.
    fn min_at(&self, version: u32) -> u32 {
        self.min_compatible.min(version)
    }
}

/// Applies the migrations that are missing.
pub(crate) async fn apply_missing(
    connection: &mut PgConnection,
    schema: &Schema,
    component: &Component,
) -> Result<(), OutboxError> {
    check_server(connection, MIGRATE).await?;
    prepare(connection, schema).await?;
    refuse_hidden_rows(connection, schema, component, MIGRATE).await?;
    let (recorded, found) = applied(connection, schema, component, MIGRATE).await?;
    add_min_compatible(connection, schema).await?;
    if let Some(recorded) = recorded {
        recorded.log(component);
    } else if found > 0 {
        let text = "outbox_migrations was emptied; the existing tables are kept";
        tracing::warn!(component = component.name, "{text}");
        for version in (1..).take(found) {
            record(connection, schema, component, version).await?;
        }
    }
    for (version, migration) in (1..).zip(component.migrations).skip(found) {
        apply(connection, schema, component, version, migration).await?;
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

/// The version of the component's tables. Fails if this program needs no newer one, but may not use them, or
/// a table is missing.
pub(crate) async fn version_here(
    connection: &mut PgConnection,
    schema: &Schema,
    component: &Component,
) -> Result<Option<Recorded>, OutboxError> {
    check_server(connection, OPEN).await?;
    refuse_hidden_rows(connection, schema, component, OPEN).await?;
    let found = recorded(connection, schema, component.name, OPEN).await?;
    if let Some(found) = found.filter(|found| found.version >= component.newest()) {
        found.check(component, OPEN)?;
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
        let row = include_str!("sql/set_version.sql").replace(
            "($1, $2, $3)",
            &format!("('{name}', {version}, {});", component.min_at(version)),
        );
        script.push_str(&schema.write(&row));
    }
    script + "COMMIT;\n"
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

/// Adds the column to a table of migrations that was created without it. That needs the owner of the table,
/// so nothing is tried where nothing is missing.
async fn add_min_compatible(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<(), OutboxError> {
    let error = postgres_error(MIGRATE);
    let has_column: bool = sqlx::query_scalar(include_str!("sql/has_min_compatible.sql"))
        .bind(schema.name())
        .fetch_one(&mut *connection)
        .await
        .map_err(&error)?;
    if has_column {
        return Ok(());
    }
    sqlx::query(schema.sql(include_str!("sql/add_min_compatible.sql")))
        .execute(connection)
        .await
        .map(drop)
        .map_err(error)
}

/// What is recorded, and how many migrations the schema has. Refuses tables that belong to another
/// program, or to a newer one with which this one is not compatible. Tables with exactly the columns of the
/// migrations are ours even if no version is recorded: the rows of all tables were deleted.
async fn applied(
    connection: &mut PgConnection,
    schema: &Schema,
    component: &Component,
    operation: &'static str,
) -> Result<(Option<Recorded>, usize), OutboxError> {
    let Some(found) = recorded(connection, schema, component.name, operation).await? else {
        if is_ours(connection, schema, component, operation).await? {
            return Ok((None, component.migrations.len()));
        }
        refuse_foreign_tables(connection, schema, component.tables, operation).await?;
        return Ok((None, 0));
    };
    found.check(component, operation)?;
    Ok((Some(found), found.version as usize))
}

async fn apply(
    connection: &mut PgConnection,
    schema: &Schema,
    component: &Component,
    version: u32,
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
    component: &Component,
    version: u32,
) -> Result<(), OutboxError> {
    sqlx::query(schema.sql(include_str!("sql/set_version.sql")))
        .bind(component.name)
        .bind(version.cast_signed())
        .bind(component.min_at(version).cast_signed())
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

/// The newest migration that is recorded, or `None` if none is.
async fn recorded(
    connection: &mut PgConnection,
    schema: &Schema,
    component: &str,
    operation: &'static str,
) -> Result<Option<Recorded>, OutboxError> {
    if !exists(connection, schema, TABLE, operation).await?.1 {
        return Ok(None);
    }
    let found: (Option<i32>, Option<i32>) =
        sqlx::query_as(schema.sql(include_str!("sql/version.sql")))
            .bind(component)
            .fetch_one(connection)
            .await
            .map_err(|error| match sqlstate(&error).as_deref() {
                Some("42703" | "42883" | "42P18") => foreign(schema, TABLE, operation),
                _ => postgres_error(operation)(error),
            })?;
    let (Some(version), Some(min_compatible)) = found else {
        return Ok(None);
    };
    Ok(Some(Recorded {
        version: version.unsigned_abs(),
        min_compatible: min_compatible.unsigned_abs(),
    }))
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
