//! What an error of the server means to a caller.

use crate::BACKEND;
use outbox_core::{ErrorKind, OutboxError};

/// Where the privileges of each role are listed.
const GRANTS: &str = "outbox-store-postgres/docs/postgres-schema.md#privileges";

/// An error that the server returned, in its parts. A driver that does not give a part leaves it out.
///
/// ```
/// # use outbox_append_postgres::ServerError;
/// # use outbox_core::ErrorKind;
/// let error = ServerError {
///     code: Some("42P01"),
///     message: "relation \"outbox.outbox_events\" does not exist",
///     ..ServerError::default()
/// };
/// let error = error.explain("append").with_source("the error of the driver");
/// assert_eq!(error.kind(), ErrorKind::Invalid);
/// assert!(error.to_string().contains("outbox migrate"));
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ServerError<'e> {
    /// The SQLSTATE: five characters by which PostgreSQL names the error. If it is unknown, only a missing
    /// table or function of ours is recognized, by an English message.
    pub code: Option<&'e str>,
    /// What went wrong.
    pub message: &'e str,
    /// More about it. It may quote the row.
    pub detail: Option<&'e str>,
    /// What the server advises.
    pub hint: Option<&'e str>,
    /// The functions in which the statement failed, the innermost in the first line.
    pub context: Option<&'e str>,
}

impl ServerError<'_> {
    /// The error of `operation`, with what the caller may do about it. Add the error of the driver with
    /// [`with_source`](OutboxError::with_source).
    ///
    /// The text is that of the server, without the values of the row, which may be large or secret.
    #[must_use]
    pub fn explain(&self, operation: &'static str) -> OutboxError {
        OutboxError::new(self.kind(), BACKEND, operation).explained(self.text())
    }

    fn kind(&self) -> ErrorKind {
        if self.is_not_migrated() {
            return ErrorKind::Invalid;
        }
        kind_of_sqlstate(self.code.unwrap_or_default())
    }

    /// The text of the server, and what to do about it.
    fn text(&self) -> String {
        let mut text = self.message.to_owned();
        if let Some(code) = self.code {
            text = format!("{text} (SQLSTATE {code})");
        }
        // The details of other errors quote the row, with its payload.
        let quotes_a_key = matches!(self.code, Some("23503" | "23505"));
        if let Some(detail) = self.detail.filter(|_| quotes_a_key) {
            text = format!("{text}: {detail}");
        }
        if let Some(hint) = self.hint {
            text = format!("{text}; {hint}");
        }
        if let Some(advice) = self.advice() {
            text = format!("{text}; {advice}");
        }
        text
    }

    fn advice(&self) -> Option<String> {
        if self.is_not_migrated() {
            let text = "the tables are missing or have another version: run `outbox migrate`, or \
                        call `migrate` of the adapter";
            return Some(text.to_owned());
        }
        match self.code? {
            "42501" => Some(format!("grant the role the privileges that {GRANTS} lists")),
            "23503" if self.message.starts_with("update or delete on table") => Some(
                "drop this foreign key of the application, or declare it ON DELETE CASCADE: the \
                 relay deletes rows that are published"
                    .to_owned(),
            ),
            // No statement or function of ours raises it.
            "P0001" => {
                let by = self
                    .context
                    .map_or_else(String::new, |by| format!(" ({by})"));
                Some(format!(
                    "a trigger or function of the application refuses the statement{by}: let it pass"
                ))
            }
            _ => None,
        }
    }

    /// Whether a table, a column or a function of ours does not exist.
    ///
    /// The message has the name of a missing table, and our tables have `outbox` in theirs. The name of a
    /// missing column shows nothing, but a statement outside of a function is ours.
    fn is_not_migrated(&self) -> bool {
        let is_named = self.message.contains("outbox");
        match self.code {
            Some("3F000" | "42P01" | "42883") => is_named,
            Some("42703") => {
                let function = self.context.and_then(|context| context.lines().next());
                is_named || function.is_none_or(|by| by.contains("outbox"))
            }
            Some(_) => false,
            None => is_named && self.message.ends_with("does not exist"),
        }
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

    fn error<'e>(code: &'e str, message: &'e str) -> ServerError<'e> {
        ServerError {
            code: Some(code).filter(|code| !code.is_empty()),
            message,
            ..ServerError::default()
        }
    }

    #[test]
    fn only_missing_tables_of_ours_call_for_a_migration() {
        let ours = "relation \"outbox.outbox_events\" does not exist";
        let theirs = "relation \"orders\" does not exist";
        let denied = "permission denied for table outbox_events";
        assert!(error("42P01", ours).is_not_migrated());
        assert!(!error("42P01", theirs).is_not_migrated());
        assert!(!error("42501", denied).is_not_migrated());
        // Without a code, by the message.
        assert_eq!(error("", ours).kind(), ErrorKind::Invalid);
        assert_eq!(error("", theirs).kind(), ErrorKind::Unavailable);
        assert_eq!(error("", denied).kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn a_missing_column_is_ours_unless_a_function_of_the_application_reads_it() {
        let ours = "PL/pgSQL function outbox.outbox_take_token() line 3 at SQL statement";
        let theirs = "PL/pgSQL function public.audit() line 3 at SQL statement\nouter outbox";
        let missing = |context| ServerError {
            context,
            ..error("42703", "column e.replays does not exist")
        };
        assert!(missing(None).is_not_migrated());
        assert!(missing(Some(ours)).is_not_migrated());
        assert!(!missing(Some(theirs)).is_not_migrated());
    }

    #[test]
    fn only_the_detail_of_a_key_is_quoted() {
        let with_detail = |code, message| ServerError {
            detail: Some("Key (id)=(7) already exists."),
            hint: Some("look"),
            ..error(code, message)
        };
        let text = with_detail("23505", "taken").explain("append").to_string();
        let expected = "postgres: append: duplicate: taken (SQLSTATE 23505): Key (id)=(7) already \
                        exists.; look";
        assert_eq!(text, expected);
        let text = with_detail("23514", "refused")
            .explain("append")
            .to_string();
        assert_eq!(
            text,
            "postgres: append: invalid: refused (SQLSTATE 23514); look"
        );
        let text = with_detail("", "broken").explain("append").to_string();
        assert_eq!(text, "postgres: append: unavailable: broken; look");
    }
}
