//! Whether the adapters can use a server.

use crate::error::{postgres_error, refusal};
use outbox_core::{ErrorKind, OutboxError};
use sqlx::PgConnection;

/// PostgreSQL 13: the first with `pg_current_xact_id`, and the oldest that is tested.
const OLDEST: i32 = 130_000;

/// A part of `version()`, and the server that says it. They speak the protocol of PostgreSQL.
const OTHERS: &[(&str, &str)] = &[
    ("CockroachDB", "CockroachDB"),
    ("-YB-", "YugabyteDB"),
    ("Redshift", "Amazon Redshift"),
];

/// Refuses a server that the adapters cannot use.
pub(crate) async fn check_server(
    connection: &mut PgConnection,
    operation: &'static str,
) -> Result<(), OutboxError> {
    let (number, version, encoding, isolation, build) =
        sqlx::query_as(include_str!("sql/server.sql"))
            .fetch_one(connection)
            .await
            .map_err(postgres_error(operation))?;
    let server = Server {
        number,
        version,
        encoding,
        isolation,
        build,
    };
    match server.explain() {
        Some(text) => Err(refusal(ErrorKind::Invalid, operation, text)),
        None => Ok(()),
    }
}

/// What the statements need to know of a server.
struct Server {
    number: i32,
    version: String,
    encoding: String,
    isolation: String,
    /// What `version()` says.
    build: String,
}

impl Server {
    /// Why the adapters cannot use the server.
    fn explain(&self) -> Option<String> {
        let Self {
            version,
            encoding,
            isolation,
            ..
        } = self;
        if let Some((_, name)) = OTHERS.iter().find(|(mark, _)| self.build.contains(mark)) {
            return Some(format!(
                "the server is {name}, which has no snapshots of transactions as PostgreSQL has \
                 (pg_current_snapshot), so it cannot carry the outbox; PostgreSQL 13 or newer is needed"
            ));
        }
        if self.number < OLDEST {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_cannot_be_used_is_named_with_what_is_needed() {
        let explain = |number, encoding: &str, isolation: &str| {
            let server = Server {
                number,
                version: "12.22".to_owned(),
                encoding: encoding.to_owned(),
                isolation: isolation.to_owned(),
                build: "PostgreSQL 12.22 on x86_64-pc-linux-gnu, compiled by gcc".to_owned(),
            };
            server.explain().unwrap_or_default()
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

    #[test]
    fn a_server_that_only_speaks_the_protocol_is_named_and_refused() {
        for (build, name) in [
            (
                "CockroachDB CCL v24.3.1 (x86_64-pc-linux-gnu, built 2024/12/09)",
                "CockroachDB",
            ),
            (
                "PostgreSQL 15.2-YB-2.25.1.0-b0 on x86_64-pc-linux-gnu",
                "YugabyteDB",
            ),
            (
                "PostgreSQL 8.0.2 on i686-pc-linux-gnu, Redshift 1.0.77467",
                "Amazon Redshift",
            ),
        ] {
            let server = Server {
                number: 150_000,
                version: "15.2".to_owned(),
                encoding: "UTF8".to_owned(),
                isolation: "read committed".to_owned(),
                build: build.to_owned(),
            };
            let text = server.explain().unwrap_or_default();
            assert!(
                text.contains(name) && text.contains("13 or newer"),
                "{text}"
            );
        }
    }
}
