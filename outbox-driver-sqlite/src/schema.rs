//! Tables and their versions.
//!
//! Each component (the store, each heap) has a row in `outbox_schema` with the number of
//! migrations that were applied.

use crate::error::{refusal, sqlite_error};
use outbox_core::{ErrorKind, OutboxError};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

const MIGRATE: &str = "migrate";

/// Applies the migrations that `component` lacks and returns how many there were.
///
/// All happens in one transaction that holds the write lock from its start, so it is safe from
/// several processes at once: one applies, the others find nothing to do. `tables` are the names
/// that the migrations create.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] if one of `tables` exists although the component was never migrated, or
/// if the file was migrated by a newer program; nothing is changed then.
/// [`ErrorKind::Unavailable`] if the lock cannot be had in time.
pub fn migrate(
    connection: &mut Connection,
    component: &str,
    tables: &[&str],
    migrations: &[&str],
) -> Result<usize, OutboxError> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(sqlite_error(MIGRATE))?;
    let applied = migrate_within(&transaction, component, tables, migrations)?;
    transaction.commit().map_err(sqlite_error(MIGRATE))?;
    Ok(applied)
}

/// As [`migrate`], inside the caller's write transaction, such as that of
/// [`Driver::write`](crate::Driver::write).
///
/// # Errors
///
/// As [`migrate`]. The caller then rolls back.
pub fn migrate_within(
    connection: &Connection,
    component: &str,
    tables: &[&str],
    migrations: &[&str],
) -> Result<usize, OutboxError> {
    let applied = applied_migrations(connection, component, tables, migrations)?;
    connection
        .execute_batch(include_str!("sql/schema.sql"))
        .map_err(sqlite_error(MIGRATE))?;
    let newest = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
    let missing = &migrations[applied..];
    for migration in missing {
        connection
            .execute_batch(migration)
            .map_err(sqlite_error(MIGRATE))?;
    }
    connection
        .execute(include_str!("sql/set_version.sql"), (component, newest))
        .map_err(sqlite_error(MIGRATE))?;
    Ok(missing.len())
}

/// How many of `migrations` the file has. Changes nothing. Tables whose version is not recorded, but
/// which are exactly as the migrations make them, count as migrated.
///
/// # Errors
///
/// As [`migrate`]: what is applied here can be migrated.
pub fn applied_migrations(
    connection: &Connection,
    component: &str,
    tables: &[&str],
    migrations: &[&str],
) -> Result<usize, OutboxError> {
    let Some(found) = schema_version(connection, component)? else {
        if is_migrated(connection, tables, migrations)? {
            return Ok(migrations.len());
        }
        refuse_foreign_tables(connection, tables)?;
        return Ok(0);
    };
    let newest = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
    if found > newest {
        return Err(newer(component, found, newest, MIGRATE));
    }
    Ok(found as usize)
}

/// Whether all of `tables` are as the migrations make them. Then they are ours, although their
/// version is unknown: somebody deleted the rows of all tables.
fn is_migrated(
    connection: &Connection,
    tables: &[&str],
    migrations: &[&str],
) -> Result<bool, OutboxError> {
    if !exists(connection, "outbox_schema")? {
        return Ok(false);
    }
    let fresh = Connection::open_in_memory().map_err(sqlite_error(MIGRATE))?;
    for migration in migrations {
        fresh
            .execute_batch(migration)
            .map_err(sqlite_error(MIGRATE))?;
    }
    for table in tables {
        let here = definition(connection, table)?;
        if here.is_none() || here != definition(&fresh, table)? {
            return Ok(false);
        }
    }
    Ok(!tables.is_empty())
}

fn definition(connection: &Connection, table: &str) -> Result<Option<String>, OutboxError> {
    connection
        .query_row(
            "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1",
            [table],
            |row| row.get(0),
        )
        .optional()
        .map_err(sqlite_error(MIGRATE))
}

/// The number of migrations that `component` has, or `None` if it was never migrated here.
fn schema_version(connection: &Connection, component: &str) -> Result<Option<u32>, OutboxError> {
    if !exists(connection, "outbox_schema")? {
        return Ok(None);
    }
    connection
        .query_row(
            "SELECT version FROM outbox_schema WHERE component = ?1",
            [component],
            |row| row.get(0),
        )
        .optional()
        .map_err(sqlite_error("schema_version"))
}

/// Refuses a file whose `component` is not exactly at version `newest`.
///
/// # Errors
///
/// [`ErrorKind::Invalid`], with what to do: run a migration, or a newer program.
pub fn require_version(
    connection: &Connection,
    component: &str,
    newest: u32,
) -> Result<(), OutboxError> {
    const OPEN: &str = "open";
    match schema_version(connection, component)? {
        None => Err(refusal(
            ErrorKind::Invalid,
            OPEN,
            format!("no outbox tables here ({component}); run `outbox migrate`"),
        )),
        Some(found) if found < newest => Err(refusal(
            ErrorKind::Invalid,
            OPEN,
            format!(
                "the tables of {component} are of version {found}, this program needs {newest}; \
                 run `outbox migrate`"
            ),
        )),
        Some(found) if found > newest => Err(newer(component, found, newest, OPEN)),
        Some(_) => Ok(()),
    }
}

fn refuse_foreign_tables(connection: &Connection, tables: &[&str]) -> Result<(), OutboxError> {
    for table in tables {
        if exists(connection, table)? {
            return Err(refusal(
                ErrorKind::Invalid,
                MIGRATE,
                format!(
                    "a table named {table} exists that is not ours; rename it or use another file"
                ),
            ));
        }
    }
    Ok(())
}

fn exists(connection: &Connection, table: &str) -> Result<bool, OutboxError> {
    connection
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE)",
            [table],
            |row| row.get(0),
        )
        .map_err(sqlite_error(MIGRATE))
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
