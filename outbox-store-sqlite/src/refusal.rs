//! Foreign keys and triggers of the application that refuse a deletion.

use rusqlite::{Connection, Error, Result, ffi};

/// Runs `delete`, which deletes rows of `table`. An error because of a foreign key or a trigger names it
/// and says what to do.
pub(crate) fn delete<T>(
    connection: &Connection,
    table: &str,
    delete: impl FnOnce() -> Result<T>,
) -> Result<T> {
    delete().map_err(|error| match explain(connection, table, &error) {
        Ok(Some((code, text))) => Error::SqliteFailure(ffi::Error::new(code), Some(text)),
        _ => error,
    })
}

/// The code and the text of the error, if it comes from a foreign key or a trigger.
fn explain(connection: &Connection, table: &str, error: &Error) -> Result<Option<(i32, String)>> {
    let (code, message) = match error {
        Error::SqliteFailure(failure, message) => (failure.extended_code, message.as_deref()),
        // A trigger with RAISE(IGNORE) keeps the row without an error.
        Error::QueryReturnedNoRows => (ffi::SQLITE_CONSTRAINT_TRIGGER, None),
        _ => return Ok(None),
    };
    let (sql, what, advice) = match code {
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => (
            include_str!("sql/foreign_keys.sql"),
            "a foreign key of the table",
            "drop it, or declare it ON DELETE CASCADE or ON DELETE SET NULL",
        ),
        ffi::SQLITE_CONSTRAINT_TRIGGER => (
            include_str!("sql/foreign_triggers.sql"),
            "the trigger",
            "drop it, or let it allow the deletion",
        ),
        _ => return Ok(None),
    };
    let mut statement = connection.prepare(sql)?;
    let names = statement.query_map([table], |row| row.get::<_, String>(0))?;
    let names: Vec<String> = names.collect::<Result<_>>()?;
    if names.is_empty() {
        return Ok(None);
    }
    let (message, names) = (message.unwrap_or("row not deleted"), names.join(", "));
    let text =
        format!("{message}: {what} {names} does not let the relay delete from {table}; {advice}");
    Ok(Some((code, text)))
}
