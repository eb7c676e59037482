//! Whether events could be published.

use crate::error::{Failure, misconfigured};
use crate::row::LARGEST;
use crate::{COMPONENT, Table};
use outbox_core::{PublishError, PublishErrorKind, TransportCheck};
use sqlx::Row;
use sqlx::postgres::PgRow;

const CHECK: &str = "check";

/// The columns that a call writes.
const WRITTEN: [&str; 7] = [
    "id",
    "created_at",
    "event_type",
    "content_type",
    "ordering_key",
    "headers",
    "payload",
];

/// The answer of check.sql.
#[allow(
    clippy::struct_excessive_bools,
    reason = "a field for each column of the answer"
)]
struct Found {
    version: String,
    is_read_only: bool,
    synchronous_commit: String,
    may_use_schema: bool,
    has_table: bool,
    is_unlogged: bool,
    missing: Vec<String>,
    denied: Vec<String>,
    may_read_version: bool,
}

pub(crate) async fn check(table: &Table) -> TransportCheck {
    let query = sqlx::query(include_str!("sql/check.sql"))
        .bind(table.driver.schema().name())
        .bind(&WRITTEN[..]);
    let found = table.driver.fetch_one(CHECK, query, Found::read).await;
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            return TransportCheck::default().problem(Failure::of(error, &table.name).into_error());
        }
    };
    let check = found.notes(&table.name);
    if let Some(problem) = found.problem(&table.name) {
        return check.problem(problem);
    }
    if !found.may_read_version {
        return check.note("the version of the table is not known: no SELECT on outbox_migrations");
    }
    match COMPONENT.applied(table.postgres.clone()).await {
        Ok(version) => check.note(of_version(version, COMPONENT.migrations.len())),
        Err(error) => check.problem(Failure::of(error, &table.name).into_error()),
    }
}

fn of_version(version: usize, newest: usize) -> String {
    if version > newest {
        format!("the table has version {version}; this program knows {newest}, and is compatible")
    } else {
        format!("the table has version {version} of {newest}")
    }
}

impl Found {
    fn read(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            version: row.try_get(0)?,
            is_read_only: row.try_get(1)?,
            synchronous_commit: row.try_get(2)?,
            may_use_schema: row.try_get(3)?,
            has_table: row.try_get(4)?,
            is_unlogged: row.try_get(5)?,
            missing: row.try_get(6)?,
            denied: row.try_get(7)?,
            may_read_version: row.try_get(8)?,
        })
    }

    fn notes(&self, name: &str) -> TransportCheck {
        let mut check = TransportCheck::default()
            .note(format!("PostgreSQL {}, table {name}", self.version))
            .note(format!("payloads have at most {LARGEST} bytes"))
            .note(
                "an event is recognised by its id until a consumer deletes it; later by the inbox",
            );
        if self.synchronous_commit == "off" {
            check = check.warning(
                "synchronous_commit is off: a crash of the server can lose published events",
            );
        }
        if self.is_unlogged {
            check =
                check.warning("the table is UNLOGGED: a crash of the server loses all its events");
        }
        check
    }

    /// The first reason why nothing can be inserted.
    fn problem(&self, name: &str) -> Option<PublishError> {
        let missing = self.missing.join(", ");
        let text = if self.is_read_only {
            let text = "the server is a standby, or read-only by its settings";
            return Some(PublishError::new(PublishErrorKind::Unavailable).with_source(text));
        } else if !self.has_table {
            "the table is missing; call PostgresTransport::migrate, or run the script that \
             PostgresTransport::script prints"
                .to_owned()
        } else if !missing.is_empty() {
            format!("the table lacks the columns {missing}; it is of another version or program")
        } else if !self.may_use_schema {
            "the role needs USAGE on the schema".to_owned()
        } else if !self.denied.is_empty() {
            format!(
                "the role needs INSERT on the columns {}, and SELECT on id",
                self.denied.join(", ")
            )
        } else {
            return None;
        };
        Some(misconfigured(name, text))
    }
}
