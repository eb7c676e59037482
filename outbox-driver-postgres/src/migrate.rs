//! Tables and their versions.
//!
//! Each migration of each component (the store, each heap) has a row in `outbox_migrations`.

use crate::driver::Driver;
use crate::error::{postgres_error, refusal, sqlstate};
use crate::schema::Schema;
use outbox_core::{ErrorKind, OutboxError};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use std::time::Duration;

const MIGRATE: &str = "migrate";
const OPEN: &str = "open";
const MIGRATIONS: &str = include_str!("sql/migrations.sql");
const TABLE: &str = "outbox_migrations";

/// How long a migration may take, time for others that migrate included.
const LONGEST: Duration = Duration::from_secs(600);

/// PostgreSQL 13: the first with `pg_current_xact_id`, and the oldest that is tested.
const OLDEST: i32 = 130_000;

impl Driver {
    /// Applies the migrations that `component` lacks and returns how many there were. Makes the
    /// schema first if it is missing.
    ///
    /// All happens in one transaction under an advisory lock, so it is safe from several processes
    /// at once: one applies, the others find nothing to do. `tables` are the names that the
    /// migrations create. It may take ten minutes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] if one of `tables` exists although the component was never migrated,
    /// if the schema was migrated by a newer program, if the server is too old or set up otherwise
    /// than the adapters need, if a table is missing that was migrated, and if a right is missing;
    /// nothing is changed then.
    pub async fn migrate(
        &self,
        component: &str,
        tables: &[&str],
        migrations: &[&str],
    ) -> Result<usize, OutboxError> {
        self.transaction_within(LONGEST, MIGRATE, async |connection: &mut PgConnection| {
            check_server(connection).await?;
            let schema = self.schema();
            prepare(connection, schema).await?;
            let found = applied(connection, schema, component, tables, migrations).await?;
            if version(connection, schema, component, MIGRATE)
                .await?
                .is_none()
                && found > 0
            {
                let text = "outbox_migrations was emptied; the tables that are there are kept";
                tracing::warn!(component, "{text}");
                for version in (1..).take(found) {
                    note(connection, schema, component, version).await?;
                }
            }
            for (version, migration) in (1..).zip(migrations).skip(found) {
                apply(connection, schema, component, version, migration).await?;
            }
            require_tables(connection, schema, tables, MIGRATE).await?;
            Ok(migrations.len() - found)
        })
        .await
    }

    /// How many of `migrations` the `component` has. Changes nothing.
    ///
    /// # Errors
    ///
    /// As [`migrate`](Self::migrate), which fails after this only for want of a right.
    pub async fn applied_migrations(
        &self,
        component: &str,
        tables: &[&str],
        migrations: &[&str],
    ) -> Result<usize, OutboxError> {
        self.transaction(MIGRATE, async |connection: &mut PgConnection| {
            check_server(connection).await?;
            applied(connection, self.schema(), component, tables, migrations).await
        })
        .await
    }

    /// Refuses a schema whose `component` is not exactly at version `newest` or lacks one of its
    /// `tables`, and a server that the adapters cannot use.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`], with what to do: run a migration, a newer program, or another server.
    pub async fn require_version(
        &self,
        component: &str,
        tables: &[&str],
        newest: u32,
    ) -> Result<(), OutboxError> {
        let found = self
            .transaction(OPEN, async |connection: &mut PgConnection| {
                check_server(connection).await?;
                let found = version(connection, self.schema(), component, OPEN).await?;
                if found == Some(newest) {
                    require_tables(connection, self.schema(), tables, OPEN).await?;
                }
                Ok(found)
            })
            .await?;
        let text = match found {
            None => format!(
                "no outbox tables in the schema {:?} ({component}); run `outbox migrate`",
                self.schema().name()
            ),
            Some(found) if found < newest => format!(
                "the tables of {component} are of version {found}, this program needs {newest}; \
                 run `outbox migrate`"
            ),
            Some(found) if found > newest => return Err(newer(component, found, newest, OPEN)),
            Some(_) => return Ok(()),
        };
        Err(refusal(ErrorKind::Invalid, OPEN, text))
    }
}

impl Schema {
    /// What [`Driver::migrate`] runs in an empty schema, as a script for psql.
    #[must_use]
    pub fn script(&self, component: &str, migrations: &[&str]) -> String {
        let component = component.replace('\'', "''");
        let mut script = format!(
            "BEGIN;\nCREATE SCHEMA IF NOT EXISTS {};\n{}",
            self.quoted(),
            self.text(MIGRATIONS)
        );
        for (version, migration) in (1..).zip(migrations) {
            script.push_str(&self.text(migration));
            let row = include_str!("sql/set_version.sql")
                .replace("($1, $2)", &format!("('{component}', {version});"));
            script.push_str(&self.text(&row));
        }
        script + "COMMIT;\n"
    }
}

async fn check_server(connection: &mut PgConnection) -> Result<(), OutboxError> {
    let (number, version, encoding, isolation): (i32, String, String, String) =
        sqlx::query_as(include_str!("sql/server.sql"))
            .fetch_one(connection)
            .await
            .map_err(postgres_error(OPEN))?;
    explain_server(number, &version, &encoding, &isolation)
        .map_or(Ok(()), |text| Err(refusal(ErrorKind::Invalid, OPEN, text)))
}

/// What is wrong with the server.
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

/// Takes the lock, and makes the schema and the table of migrations where they are missing.
async fn prepare(connection: &mut PgConnection, schema: &Schema) -> Result<(), OutboxError> {
    let error = postgres_error(MIGRATE);
    sqlx::query(include_str!("sql/lock.sql"))
        .bind(schema.name())
        .execute(&mut *connection)
        .await
        .map_err(&error)?;
    // Asked first: CREATE … IF NOT EXISTS needs the right to create even where there is nothing to do.
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

/// How many of `migrations` the `component` has; refuses tables that are not ours, or newer. Tables
/// that are as the migrations make them are ours although none is noted: somebody deleted the rows of
/// all tables.
async fn applied(
    connection: &mut PgConnection,
    schema: &Schema,
    component: &str,
    tables: &[&str],
    migrations: &[&str],
) -> Result<usize, OutboxError> {
    let Some(found) = version(connection, schema, component, MIGRATE).await? else {
        if is_ours(connection, schema, tables, migrations).await? {
            return Ok(migrations.len());
        }
        refuse_foreign_tables(connection, schema, tables).await?;
        return Ok(0);
    };
    let newest = number(migrations.len());
    if found > newest {
        return Err(newer(component, found, newest, MIGRATE));
    }
    Ok(found as usize)
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
    note(connection, schema, component, version).await
}

/// Notes that a migration was applied.
async fn note(
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

/// Whether all tables of a component have the columns that its migrations make. Makes them in a
/// schema beside, and takes that back.
async fn is_ours(
    connection: &mut PgConnection,
    schema: &Schema,
    tables: &[&str],
    migrations: &[&str],
) -> Result<bool, OutboxError> {
    let error = postgres_error(MIGRATE);
    let here = columns(connection, schema, tables).await.map_err(&error)?;
    let missing = missing(connection, schema, tables, MIGRATE).await?;
    if here.is_empty() || !missing.is_empty() {
        return Ok(false);
    }
    connection
        .execute("SAVEPOINT outbox_beside")
        .await
        .map_err(&error)?;
    let beside = make_beside(connection, tables, migrations).await;
    connection
        .execute("ROLLBACK TO SAVEPOINT outbox_beside")
        .await
        .map_err(&error)?;
    Ok(beside.is_ok_and(|beside| beside == here))
}

async fn make_beside(
    connection: &mut PgConnection,
    tables: &[&str],
    migrations: &[&str],
) -> sqlx::Result<Vec<String>> {
    let beside = Schema::new("outbox_beside").map_err(|error| sqlx::Error::Decode(error.into()))?;
    let create = format!("CREATE SCHEMA {}", beside.quoted());
    connection.execute(AssertSqlSafe(create)).await?;
    for migration in migrations {
        sqlx::raw_sql(beside.sql(migration))
            .execute(&mut *connection)
            .await?;
    }
    columns(connection, &beside, tables).await
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

/// The tables that are not there.
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

async fn refuse_foreign_tables(
    connection: &mut PgConnection,
    schema: &Schema,
    tables: &[&str],
) -> Result<(), OutboxError> {
    for table in tables {
        if exists(connection, schema, table, MIGRATE).await?.1 {
            return Err(foreign(schema, table, MIGRATE));
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
            "the schema {:?} has a table named {table} that is not ours; rename it or use another \
             schema",
            schema.name()
        ),
    )
}

fn newer(component: &str, found: u32, newest: u32, operation: &'static str) -> OutboxError {
    refusal(
        ErrorKind::Invalid,
        operation,
        format!(
            "the tables of {component} are of version {found}, this program knows {newest}; \
             use a newer program"
        ),
    )
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_server_is_named_with_what_would_do() {
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
