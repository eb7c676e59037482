//! The filter of dead letters, as conditions of a `WHERE`.

use outbox_core::DeadLetterFilter;
use outbox_driver_sqlite::micros;
use rusqlite::types::Value;
use rusqlite::{Connection, Result, Row, params_from_iter};

/// Statements have this text where the conditions belong. They are valid without the conditions.
const MARK: &str = "/* and the filter */";

/// Conditions with their values. Only fixed text becomes part of a statement.
pub(crate) struct Filter(Vec<(&'static str, Value)>);

impl Filter {
    pub(crate) fn new(filter: &DeadLetterFilter) -> Self {
        let text = |text: &Option<String>| text.clone().map(Value::Text);
        let ids = filter.ids.as_ref().map(|ids| {
            let bytes = ids.iter().flat_map(|id| *id.as_uuid().as_bytes());
            Value::Blob(bytes.collect())
        });
        let conditions = [
            (include_str!("sql/filter_ids.sql"), ids),
            ("event_type = ?", text(&filter.event_type)),
            ("ordering_key = ?", text(&filter.ordering_key)),
            ("instr(last_error, ?) > 0", text(&filter.error_contains)),
            (
                "quarantined_at < ?",
                filter.before.map(|time| Value::Integer(micros(time))),
            ),
        ];
        let given = conditions.into_iter();
        Self(
            given
                .filter_map(|(sql, value)| Some((sql, value?)))
                .collect(),
        )
    }

    /// Runs a statement whose own parameters are `values`, and reads its rows.
    pub(crate) fn rows<T>(
        &self,
        connection: &Connection,
        sql: &str,
        values: impl IntoIterator<Item = i64>,
        read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut values: Vec<Value> = values.into_iter().map(Value::Integer).collect();
        let mut conditions = String::new();
        for (condition, value) in &self.0 {
            values.push(value.clone());
            let number = format!("?{}", values.len());
            conditions.push_str("AND ");
            conditions.push_str(&condition.replace('?', &number));
            conditions.push(' ');
        }
        connection
            .prepare(&sql.replace(MARK, &conditions))?
            .query_map(params_from_iter(values), read)?
            .collect()
    }
}
