//! The schema that holds the tables.

use crate::BACKEND;
use outbox_core::OutboxError;
use std::borrow::Cow;
use std::fmt;

/// The default schema.
const DEFAULT: &str = "outbox";

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
            let problem = format!("schema is {name:?}, but must be 1 to 63 bytes without NUL");
            return Err(OutboxError::invalid(BACKEND, "open", problem));
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

    /// Writes the schema into the text of a SQL file. The default schema is written there already, so
    /// its text is borrowed.
    ///
    /// The file writes each table as `outbox.outbox_…`, and never within a string. Comments are not
    /// changed, because a name with a line break would end them.
    #[must_use]
    pub fn write<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.0 == DEFAULT {
            return Cow::Borrowed(text);
        }
        let ours = format!("{}.outbox_", self.quoted());
        let mut sql = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            let (code, comment) = line.split_at(line.find("--").unwrap_or(line.len()));
            sql.push_str(&code.replace(WRITTEN, &ours));
            sql.push_str(comment);
        }
        Cow::Owned(sql)
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self(DEFAULT.to_owned())
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
            schema.write(sql),
            "-- of outbox.outbox_a\nSELECT 1 FROM \"my \"\"é\n\".outbox_a -- outbox.outbox_a\n"
        );
    }

    #[test]
    fn the_text_of_the_default_schema_is_borrowed() {
        let sql = "SELECT 1 FROM outbox.outbox_a";
        for schema in [Schema::default(), Schema::new("outbox").unwrap()] {
            assert!(matches!(schema.write(sql), Cow::Borrowed(same) if same == sql));
        }
    }
}
