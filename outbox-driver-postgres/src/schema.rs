//! The schema that holds the tables.

use crate::error::invalid;
use outbox_core::OutboxError;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};
use std::fmt;
use std::sync::Arc;

/// The longest name that PostgreSQL keeps whole, in bytes.
const LONGEST: usize = 63;

/// How the SQL files name a table, so that they can be pasted into psql: in the default schema, with the
/// prefix `outbox_`.
const WRITTEN: &str = "outbox.outbox_";

/// A name of a schema, quoted wherever it is used. The default is `outbox`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Schema(String);

impl Schema {
    /// A schema of this name. Quotes, spaces and unicode are fine.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](outbox_core::ErrorKind::Invalid) for an empty name, one with a NUL,
    /// and one that PostgreSQL would cut.
    pub fn new(name: impl Into<String>) -> Result<Self, OutboxError> {
        let name = name.into();
        if name.is_empty() || name.len() > LONGEST || name.contains('\0') {
            return Err(invalid("schema", &name, "1 to 63 bytes without NUL"));
        }
        Ok(Self(name))
    }

    /// The name as it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The name in quotes, as a statement needs it.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0.replace('"', "\"\""))
    }

    /// The text of a SQL file with its tables in this schema. Keep it and clone it, which is cheap: sqlx
    /// prepares each text once per connection.
    ///
    /// The file writes each table as `outbox.outbox_…`, and never within a string.
    #[must_use]
    pub fn sql(&self, text: &str) -> SqlStr {
        // The name of the schema is quoted.
        AssertSqlSafe(Arc::<str>::from(self.text(text))).into_sql_str()
    }

    /// As [`sql`](Self::sql). Comments are not changed, because a name with a line break would end them.
    pub(crate) fn text(&self, text: &str) -> String {
        let ours = format!("{}.outbox_", self.quoted());
        let mut sql = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let (code, comment) = line.split_at(line.find("--").unwrap_or(line.len()));
            sql.push_str(&code.replace(WRITTEN, &ours));
            sql.push_str(comment);
        }
        sql
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self("outbox".to_owned())
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outbox_core::ErrorKind;

    #[test]
    fn a_name_that_postgresql_would_cut_or_refuse_is_refused() {
        let long = "é".repeat(32);
        for name in ["", "a\0b", &*long] {
            let error = Schema::new(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains("1 to 63 bytes"), "{error:?}");
        }
        assert!(Schema::new(&long[..62]).is_ok());
    }

    #[test]
    fn tables_are_written_in_the_schema_and_comments_stay() {
        let schema = Schema::new("my \"é\n").unwrap();
        let sql = "-- of outbox.outbox_a\nSELECT 1 FROM outbox.outbox_a -- outbox.outbox_a\n";
        assert_eq!(
            schema.sql(sql).as_str(),
            "-- of outbox.outbox_a\nSELECT 1 FROM \"my \"\"é\n\".outbox_a -- outbox.outbox_a\n"
        );
    }
}
