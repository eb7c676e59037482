//! The tables of one adapter, and their migrations on a connection. The table `outbox_migrations` records
//! which migrations each component has.

use crate::error::{refusal, sqlite_error};
use crate::recorded::Recorded;
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
    /// The oldest version whose programs may use the tables after all migrations: 1 while migrations only
    /// add. A migration that takes something away raises it, and it is never lowered.
    pub min_compatible: u32,
}

impl Component {
    /// Applies the migrations that are missing, in the write transaction of the caller, which rolls back
    /// after an error.
    pub(crate) fn apply_missing(&self, connection: &Connection) -> Result<(), OutboxError> {
        let error = sqlite_error(MIGRATE);
        let applied = self.applied_here(connection)?;
        connection.execute_batch(MIGRATIONS).map_err(&error)?;
        add_min_compatible(connection)?;
        let recorded = recorded(connection, self)?;
        if let Some(recorded) = recorded {
            recorded.log(self);
        }
        let recorded = recorded.map_or(0, |recorded| recorded.version);
        for (version, migration) in (1_u32..).zip(self.migrations) {
            if version > applied {
                connection.execute_batch(migration).map_err(&error)?;
            }
            if version > recorded {
                let row = (self.name, version, self.min_at(version));
                connection
                    .execute(include_str!("sql/set_version.sql"), row)
                    .map_err(&error)?;
            }
        }
        Ok(())
    }

    /// As [`applied_here`](Self::applied_here), in a transaction: another connection may migrate the database
    /// at the same time.
    pub(crate) fn applied_now(&self, connection: &Connection) -> Result<u32, OutboxError> {
        let snapshot = connection.unchecked_transaction();
        let snapshot = snapshot.map_err(sqlite_error(MIGRATE))?;
        self.applied_here(&snapshot)
    }

    /// How many of the migrations the database has. Changes nothing. Refuses a newer version that is not
    /// compatible with this one. Tables without a record of their version count as migrated if they are exactly
    /// as the migrations create them.
    pub(crate) fn applied_here(&self, connection: &Connection) -> Result<u32, OutboxError> {
        match recorded(connection, self)? {
            Some(found) => found.check(self, MIGRATE).map(|()| found.version),
            None if are_migrated(connection, self)? => Ok(self.newest()),
            None => refuse_foreign_tables(connection, self).map(|()| 0),
        }
    }

    /// Refuses a database that lacks migrations, or has a newer version that is not compatible with this one.
    pub(crate) fn require_newest(&self, connection: &Connection) -> Result<(), OutboxError> {
        const OPEN: &str = "open";
        let (name, newest) = (self.name, self.newest());
        let text = match recorded(connection, self)? {
            None => format!(
                "no outbox tables in the database ({name}); run `outbox migrate`, or `migrate` of this \
                 adapter"
            ),
            Some(found) if found.version < newest => format!(
                "the tables of {name} are of version {}, this program needs {newest}; \
                 run `outbox migrate`, or `migrate` of this adapter",
                found.version
            ),
            Some(found) => {
                found.check(self, OPEN)?;
                found.log(self);
                return Ok(());
            }
        };
        Err(refusal(ErrorKind::Invalid, OPEN, text))
    }

    /// The statements of all migrations, with their records, as one transaction.
    pub(crate) fn statements(&self) -> String {
        let name = self.name.replace('\'', "''");
        let mut script = format!("BEGIN IMMEDIATE;\n{MIGRATIONS}");
        for (version, migration) in (1..).zip(self.migrations) {
            script.push_str(migration);
            let row = include_str!("sql/set_version.sql").replace(
                "(?1, ?2, ?3)",
                &format!("('{name}', {version}, {})", self.min_at(version)),
            );
            script.push_str(&row);
        }
        script + "COMMIT;\n"
    }

    /// The version that this program knows.
    pub(crate) fn newest(&self) -> u32 {
        u32::try_from(self.migrations.len()).unwrap_or(u32::MAX)
    }

    /// What a migration records: no version before it can be newer than itself.
    fn min_at(&self, version: u32) -> u32 {
        self.min_compatible.min(version)
    }
}

/// Adds the column to a table of migrations that was created without it.
fn add_min_compatible(connection: &Connection) -> Result<(), OutboxError> {
    let error = sqlite_error(MIGRATE);
    let has_column = connection.column_exists(None, "outbox_migrations", "min_compatible");
    if has_column.map_err(&error)? {
        return Ok(());
    }
    connection
        .execute_batch(include_str!("sql/add_min_compatible.sql"))
        .map_err(error)
}

/// The newest migration that is recorded, or `None` if none is.
fn recorded(
    connection: &Connection,
    component: &Component,
) -> Result<Option<Recorded>, OutboxError> {
    if !exists(connection, "outbox_migrations")? {
        return Ok(None);
    }
    let (version, min_compatible): (Option<u32>, Option<u32>) = connection
        .query_row(include_str!("sql/version.sql"), [component.name], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .map_err(sqlite_error(MIGRATE))?;
    Ok(version
        .zip(min_compatible)
        .map(|(version, min_compatible)| Recorded {
            version,
            min_compatible,
        }))
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
