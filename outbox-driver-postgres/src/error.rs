//! What an error of PostgreSQL means to a caller.

use outbox_core::{ErrorKind, OutboxError};
use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

const BACKEND: &str = "postgres";

/// Turns an error of PostgreSQL in `operation` into one that says what the caller may do.
///
/// The text is that of the server, without the values of the row, which may be large or secret.
pub fn postgres_error(operation: &'static str) -> impl Fn(sqlx::Error) -> OutboxError {
    move |error| {
        let (kind, text) = (kind(&error), error.as_database_error().map(explain));
        let error = OutboxError::new(kind, BACKEND, operation).with_source(error);
        match text {
            Some(text) => error.explained(text),
            None => error,
        }
    }
}

/// The text of the server, and what to do about it.
fn explain(error: &dyn DatabaseError) -> String {
    let code = error.code().unwrap_or_default();
    let mut text = format!("{} (SQLSTATE {code})", error.message());
    let postgres = error.try_downcast_ref::<PgDatabaseError>();
    // The details of other errors quote the row, with its payload.
    let quotes_a_key = matches!(&*code, "23503" | "23505");
    if let Some(detail) = postgres
        .and_then(PgDatabaseError::detail)
        .filter(|_| quotes_a_key)
    {
        text = format!("{text}: {detail}");
    }
    if let Some(hint) = postgres.and_then(PgDatabaseError::hint) {
        text = format!("{text}; {hint}");
    }
    if let Some(advice) = advice(error, postgres) {
        text = format!("{text}; {advice}");
    }
    text
}

fn advice(error: &dyn DatabaseError, postgres: Option<&PgDatabaseError>) -> Option<String> {
    let code = error.code().unwrap_or_default();
    let message = error.message();
    if is_not_migrated(&code, message, context(error)) {
        let text = "the tables are missing or have another version: run `outbox migrate`, or call \
                    `migrate` of the adapter";
        return Some(text.to_owned());
    }
    match &*code {
        "42501" => Some(format!("grant the role the privileges that {GRANTS} lists")),
        "23503" if message.starts_with("update or delete on table") => Some(
            "drop this foreign key of the application, or declare it ON DELETE CASCADE: the relay \
             deletes rows that are published"
                .to_owned(),
        ),
        // No statement or function of ours raises it.
        "P0001" => {
            let by = postgres.and_then(PgDatabaseError::r#where);
            let by = by.map_or_else(String::new, |by| format!(" ({by})"));
            Some(format!(
                "a trigger or function of the application refuses the statement{by}: let it pass"
            ))
        }
        _ => None,
    }
}

/// Where the privileges of each role are listed.
const GRANTS: &str = "outbox-store-postgres/docs/postgres-schema.md#privileges";

/// Whether a table, a column or a function of ours does not exist. `context` is the function in which
/// the statement failed.
///
/// The message has the name of a missing table, and our tables have `outbox` in theirs. The name of a
/// missing column shows nothing, but a statement outside of a function is ours.
fn is_not_migrated(code: &str, message: &str, context: Option<&str>) -> bool {
    match code {
        "3F000" | "42P01" | "42883" => message.contains("outbox"),
        "42703" => message.contains("outbox") || context.is_none_or(|by| by.contains("outbox")),
        _ => false,
    }
}

/// The innermost function in which a statement failed, if it failed in one.
fn context(error: &dyn DatabaseError) -> Option<&str> {
    let context = error.try_downcast_ref::<PgDatabaseError>()?.r#where()?;
    context.lines().next()
}

/// Whether the connection must not be used again: it is broken, or leads to the wrong server or to one
/// that shuts down, or its prepared statements are stale.
pub(crate) fn is_unfit(error: &OutboxError) -> bool {
    match source(error) {
        Some(sqlx::Error::Database(error)) => {
            !error.code().is_some_and(|code| is_about_the_call(&code))
        }
        Some(
            sqlx::Error::Io(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::WorkerCrashed,
        ) => true,
        _ => false,
    }
}

/// Whether the error is about the values of the call, a privilege, a lock or a resource, so that another
/// connection would return it too.
fn is_about_the_call(code: &str) -> bool {
    let class = code.get(..2).unwrap_or_default();
    matches!(class, "21" | "22" | "23" | "40" | "53" | "54" | "P0")
        || matches!(code, "42501" | "55006" | "55P03" | "57014")
}

/// Whether a statement could not be prepared or was not found, because another client of the same server
/// connection uses its name.
pub(crate) fn is_name_of_others(error: &OutboxError) -> bool {
    let code = source(error).and_then(sqlstate);
    matches!(code.as_deref(), Some("42P05" | "26000"))
}

/// The error, or one that says what to do if prepared statements of other clients show that there is a
/// proxy in transaction mode which the driver does not expect.
pub(crate) fn without_option(error: OutboxError, is_expected: bool) -> OutboxError {
    if is_expected || !is_name_of_others(&error) {
        return error;
    }
    let text = "the connection has prepared statements of another client, as through PgBouncer in \
                transaction mode; set PostgresConfig::through_pgbouncer";
    OutboxError::new(ErrorKind::Invalid, BACKEND, error.operation()).with_source(text)
}

fn source(error: &OutboxError) -> Option<&sqlx::Error> {
    let source = std::error::Error::source(error)?;
    source.downcast_ref()
}

/// An error that this crate found itself.
pub(crate) fn refusal(
    kind: ErrorKind,
    operation: &'static str,
    text: impl Into<String>,
) -> OutboxError {
    OutboxError::new(kind, BACKEND, operation).with_source(text.into())
}

/// A value that is refused, and what it must be.
pub(crate) fn invalid(what: &'static str, value: &str, allowed: &str) -> OutboxError {
    OutboxError::invalid(
        BACKEND,
        "open",
        format!("{what} is {value:?}, but must be {allowed}"),
    )
}

/// The five characters by which PostgreSQL names an error. None if the error is not of the server.
pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    let code = error.as_database_error()?.code()?;
    Some(code.into_owned())
}

fn kind(error: &sqlx::Error) -> ErrorKind {
    if let sqlx::Error::Database(error) = error {
        let code = error.code().unwrap_or_default();
        if is_not_migrated(&code, error.message(), context(&**error)) {
            return ErrorKind::Invalid;
        }
        return kind_of_sqlstate(&code);
    }
    match error {
        sqlx::Error::Configuration(_)
        | sqlx::Error::InvalidArgument(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::Tls(_) => ErrorKind::Invalid,
        // A row that does not fit the statement: the tables are not those of the migrations.
        sqlx::Error::RowNotFound
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_) => ErrorKind::Corrupt,
        // The network or the pool: a later call may succeed.
        _ => ErrorKind::Unavailable,
    }
}

fn kind_of_sqlstate(code: &str) -> ErrorKind {
    match (code.get(..2).unwrap_or_default(), code) {
        (_, "23505") => ErrorKind::Duplicate,
        // A concurrent transaction collided with this one.
        (_, "23P01") | ("40", _) => ErrorKind::Conflict,
        // The caller must change a privilege, a login, a name, a foreign key or a trigger.
        (_, "42501" | "42602" | "42622" | "42939")
        | ("22" | "23" | "28" | "3D" | "3F" | "54" | "P0", _) => ErrorKind::Invalid,
        // Another client of PgBouncer uses the name on this connection; another connection may work.
        (_, "42P05") => ErrorKind::Unavailable,
        // A statement that does not fit the tables: they are not those of the migrations.
        ("42", _) | (_, "XX001" | "XX002") => ErrorKind::Corrupt,
        // Connections (08), resources (53), shutdown and timeouts (57), the disk (58), a read-only
        // standby (25): a later call may succeed.
        _ => ErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sqlstate_says_what_the_caller_may_do() {
        for (code, kind) in [
            ("23505", ErrorKind::Duplicate),
            ("23514", ErrorKind::Invalid),
            ("40001", ErrorKind::Conflict),
            ("40P01", ErrorKind::Conflict),
            ("42501", ErrorKind::Invalid),
            ("28P01", ErrorKind::Invalid),
            ("3D000", ErrorKind::Invalid),
            ("42P01", ErrorKind::Corrupt),
            ("42P05", ErrorKind::Unavailable),
            ("XX001", ErrorKind::Corrupt),
            ("23503", ErrorKind::Invalid),
            ("P0001", ErrorKind::Invalid),
            ("08006", ErrorKind::Unavailable),
            ("25006", ErrorKind::Unavailable),
            ("53300", ErrorKind::Unavailable),
            ("55P03", ErrorKind::Unavailable),
            ("57P01", ErrorKind::Unavailable),
            ("", ErrorKind::Unavailable),
        ] {
            assert_eq!(kind_of_sqlstate(code), kind, "{code}");
        }
    }

    #[test]
    fn only_missing_tables_of_ours_call_for_a_migration() {
        let ours = "relation \"outbox.outbox_events\" does not exist";
        assert!(is_not_migrated("42P01", ours, None));
        let theirs = "relation \"orders\" does not exist";
        assert!(!is_not_migrated("42P01", theirs, None));
        let denied = "permission denied for table outbox_events";
        assert!(!is_not_migrated("42501", denied, None));
    }

    #[test]
    fn a_missing_column_is_ours_unless_a_function_of_the_application_reads_it() {
        let missing = "column e.replays does not exist";
        let ours = "PL/pgSQL function outbox.outbox_take_token() line 3 at SQL statement";
        let theirs = "PL/pgSQL function public.audit() line 3 at SQL statement";
        assert!(is_not_migrated("42703", missing, None));
        assert!(is_not_migrated("42703", missing, Some(ours)));
        assert!(!is_not_migrated("42703", missing, Some(theirs)));
    }

    #[test]
    fn an_answer_of_the_wrong_server_makes_the_connection_unfit() {
        let about = |code: &&str| is_about_the_call(code);
        let wrong = [
            "25006", "57P01", "57P02", "57P03", "57P04", "57P05", "08006", "08P01", "26000",
            "42P05", "42P01", "3D000", "0A000", "XX000", "55000", "",
        ];
        assert_eq!(wrong.iter().filter(|code| about(code)).count(), 0);
        let call = [
            "23505", "22003", "40001", "42501", "53100", "55P03", "57014",
        ];
        assert!(call.iter().all(about));
    }

    #[test]
    fn an_error_without_a_sqlstate_says_what_the_caller_may_do() {
        assert_eq!(kind(&sqlx::Error::PoolTimedOut), ErrorKind::Unavailable);
        assert_eq!(kind(&sqlx::Error::RowNotFound), ErrorKind::Corrupt);
        let argument = sqlx::Error::InvalidArgument(String::new());
        assert_eq!(kind(&argument), ErrorKind::Invalid);
    }
}
