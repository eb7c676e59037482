//! The statement as a query of diesel.

use diesel::RunQueryDsl;
use diesel::SqliteConnection;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::sqlite::Sqlite;
use outbox_append_sqlite::{INSERT, Row};

/// Inserts a row. The text is always the same, so a connection prepares it once.
#[derive(Clone, Copy)]
pub(crate) struct Insert<'r>(pub(crate) &'r Row<'r>);

impl QueryId for Insert<'_> {
    type QueryId = Insert<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl RunQueryDsl<SqliteConnection> for Insert<'_> {}

impl QueryFragment<Sqlite> for Insert<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        let row = self.0;
        out.push_sql(INSERT);
        // The text has its parameters, but diesel writes another `?` with each value: these are a comment.
        out.push_sql("-- the values of ");
        out.push_bind_param::<Binary, _>(row.id)?;
        out.push_bind_param::<Text, _>(row.event_type)?;
        out.push_bind_param::<Binary, _>(row.payload)?;
        out.push_bind_param::<Text, _>(row.content_type)?;
        out.push_bind_param::<Text, _>(&row.headers)?;
        out.push_bind_param::<Nullable<Text>, _>(&row.ordering_key)?;
        out.push_bind_param::<Nullable<Text>, _>(&row.idempotency_token)?;
        out.push_bind_param::<BigInt, _>(&row.created_at)?;
        out.push_bind_param::<Nullable<BigInt>, _>(&row.available_at)
    }
}
