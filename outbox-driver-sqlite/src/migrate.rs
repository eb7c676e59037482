//! The tables of one adapter, and their migrations on a connection. The table `outbox_migrations` records
//! which migrations each component has.

use crate::error::{refusal, sqlite_error};
use outbox_core::{ErrorKind, OutboxError};
use rusqlite::{Connection, OptionalExtension};

pub(crate) const MIGRATE: &str = "migrate";

const MIGRATIONS: &str = include_str!("sql/migrations.sql");

/// The tables of one adapter: a store, a heap or an inbox.
#[derive(Clone, Copy, Debug)]
pub struct Component {
    /// The name in the table `outbox_migrations`.
    pub name: &'static str,
    /// The tables that the migrations create.
    pub tables: &'static [&'static str],
    /// The migrations, oldest first.
    pub migrations: &'static [&'static str],
}

impl Component {
    /// Applies the migrations that are missing, in the write transaction of the caller, which rolls back
    /// after an error.
    pub(crate) fn apply_missing(&self, connection: &Connection) -> Result<(), OutboxError> {
        let error = sqlite_error(MIGRATE);
        let applied = self.applied_here(connection)?;
        connection.execute_batch(MIGRATIONS).map_err(&error)?;
        let recorded = recorded_version(connection, self)?.unwrap_or(0);
        for (version, migration) in (1_u32..).zip(self.migrations) {
            if version > applied {
                connection.execute_batch(migration).map_err(&error)?;
            }
            if version > recorded {
                connection
                    .execute(include_str!("sql/set_version.sql"), (self.name, version))
                    .map_err(&error)?;
            }
        }
        Ok(())
    }

    /// How many of the migrations the database has. Changes nothing. Tables without a record of their
    /// version count as migrated if they are exactly as the migrations create them.
    pub(crate) fn applied_here(&self, connection: &Connection) -> Result<u32, OutboxError> {
        let newest = newest(self);
        match recorded_version(connection, self)? {
            Some(found) if found > newest => Err(newer(self, found, MIGRATE)),
            Some(found) => Ok(found),
            None if are_migrated(connection, self)? => Ok(newest),
            None => refuse_foreign_tables(connection, self).map(|()| 0),
        }
    }

    /// Refuses a database that does not have exactly all migrations.
    pub(crate) fn require_newest(&self, connection: &Connection) -> Result<(), OutboxError> {
        const OPEN: &str = "open";
        let (name, newest) = (self.name, newest(self));
        let text = match recorded_version(connection, self)? {
            None => format!(
                "no outbox tables in the database ({name}); run `outbox migrate`, or `migrate` of this \
                 adapter"
            ),
            Some(found) if found < newest => format!(
                "the tables of {name} are of version {found}, this program needs {newest}; \
                 run `outbox migrate`, or `migrate` of this adapter"
            ),
            Some(found) if found > newest => return Err(newer(self, found, OPEN)),
            Some(_) => return Ok(()),
        };
        Err(refusal(ErrorKind::Invalid, OPEN, text))
    }

    /// The statements of all migrations, with their records, as one transaction.
    pub(crate) fn statements(&self) -> String {
        let name = self.name.replace('\'', "''");
        let mut script = format!("BEGIN IMMEDIATE;\n{MIGRATIONS}");
        for (version, migration) in (1..).zip(self.migrations) {
            script.push_str(migration);
            let row = include_str!("sql/set_version.sql")
                .replace("(?1, ?2)", &format!("('{name}', {version})"));
            script.push_str(&row);
        }
        script + "COMMIT;\n"
    }
}

/// The newest migration that is recorded, or `None` if none is.
fn recorded_version(
    connection: &Connection,
    component: &Component,
) -> Result<Option<u32>, OutboxError> {
    if !exists(connection, "outbox_migrations")? {
        return Ok(None);
    }
    connection
        .query_row(include_str!("sql/version.sql"), [component.name], |row| {
            row.get(0)
        })
        .map_err(sqlite_error(MIGRATE))
}

/// Whether all tables are as the migrations create them. Then they are ours, although their version
/// is unknown: the rows of all tables were deleted.
fn are_migrated(connection: &Connection, component: &Component) -> Result<bool, OutboxError> {
    if !exists(connection, "outbox_migrations")? {
        return Ok(false);
    }
    let fresh = Connection::open_in_memory().map_err(sqlite_error(MIGRATE))?;
    for migration in component.migrations {
        fresh
            .execute_batch(migration)
            .map_err(sqlite_error(MIGRATE))?;
    }
    for table in component.tables {
        let here = definition(connection, table)?;
        if here.is_none() || here != definition(&fresh, table)? {
            return Ok(false);
        }
    }
    Ok(!component.tables.is_empty())
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

fn refuse_foreign_tables(
    connection: &Connection,
    component: &Component,
) -> Result<(), OutboxError> {
    for table in component.tables {
        if exists(connection, table)? {
            let text = format!(
                "the file has a table {table} of another program; rename the table or use another file"
            );
            return Err(refusal(ErrorKind::Invalid, MIGRATE, text));
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

fn newest(component: &Component) -> u32 {
    u32::try_from(component.migrations.len()).unwrap_or(u32::MAX)
}

fn newer(component: &Component, found: u32, operation: &'static str) -> OutboxError {
    let (name, newest) = (component.name, newest(component));
    let text = format!(
        "the tables of {name} are of version {found}, this program knows {newest}; \
         use a newer program"
    );
    refusal(ErrorKind::Invalid, operation, text)
}
