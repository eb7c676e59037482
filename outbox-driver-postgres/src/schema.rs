//! SQL files in a schema, for sqlx.

use outbox_append_postgres::Schema;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};
use std::sync::Arc;

/// The statements of a [`Schema`], for sqlx.
pub trait SchemaSql {
    /// The text of a SQL file with its tables in this schema: see [`Schema::write`]. Keep it and clone it,
    /// which is cheap: sqlx prepares each text once per connection.
    #[must_use]
    fn sql(&self, text: &str) -> SqlStr;
}

impl SchemaSql for Schema {
    fn sql(&self, text: &str) -> SqlStr {
        // The name of the schema is quoted.
        AssertSqlSafe(Arc::<str>::from(self.write(text))).into_sql_str()
    }
}
