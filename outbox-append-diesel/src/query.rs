//! The statement as a query of diesel.

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{Array, BigInt, Binary, Nullable, SqlType, Text, Uuid};
use diesel::{Connection, RunQueryDsl};
use outbox_append_postgres::{Bind, Insert, Schema, insert, micros};
use outbox_core::{Event, OutboxError};
use std::time::SystemTime;

/// The statement that appends some events, as a query of diesel.
///
/// `append` runs it. Use it yourself with a connection that has no `append`, such as one of a pool that hides
/// its `PgConnection`: [`refuse_outside`](crate::refuse_outside) first, then the query, and
/// [`explained`](crate::explained) for its errors.
///
/// ```
/// # use outbox_append_diesel::{Append, Schema, diesel::{debug_query, pg::Pg}};
/// # use outbox_core::Event;
/// let events = [Event::new("order.placed", "7")];
/// let query = Append::new(&Schema::default(), &events)?.expect("an event");
/// assert!(debug_query::<Pg, _>(&query).to_string().contains("INSERT INTO outbox.outbox_events"));
/// # Ok::<(), outbox_core::OutboxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Append<'e>(Insert<'e>);

impl<'e> Append<'e> {
    /// The query that appends `events` to the outbox in `schema`, or `None` if there are no events.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if a field is outside the limits of [`Event::validate`].
    pub fn new(schema: &Schema, events: &'e [Event]) -> Result<Option<Self>, OutboxError> {
        Ok(insert(schema, events)?.map(Self))
    }
}

/// The text depends on the schema, so connections cache the statement by its text.
impl QueryId for Append<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Conn: Connection> RunQueryDsl<Conn> for Append<'_> {}

impl QueryFragment<Pg> for Append<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(&self.0.sql);
        // The text has its parameters, but diesel writes another `$n` with each value: these are a comment.
        out.push_sql("\n-- the values of ");
        self.0.binds.iter().try_for_each(|bind| match bind {
            Bind::Uuid(id) => out.push_bind_param::<Uuid, _>(id),
            Bind::Text(text) => out.push_bind_param::<Nullable<Text>, _>(text),
            Bind::Bytes(bytes) => out.push_bind_param::<Binary, _>(bytes),
            Bind::Time(time) => out.push_bind_param::<Nullable<Instant>, _>(time),
            Bind::Uuids(ids) => out.push_bind_param::<Array<Uuid>, _>(ids),
            Bind::Texts(texts) => out.push_bind_param::<Array<Nullable<Text>>, _>(texts),
            Bind::ByteArrays(arrays) => out.push_bind_param::<Array<Binary>, _>(arrays),
            Bind::Times(times) => out.push_bind_param::<Array<Nullable<Instant>>, _>(times),
        })
    }
}

/// A `timestamptz`. For that of diesel, it does not write a `SystemTime`.
#[derive(SqlType)]
#[diesel(postgres_type(oid = 1184, array_oid = 1185))]
struct Instant;

impl ToSql<Instant, Pg> for SystemTime {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        ToSql::<BigInt, Pg>::to_sql(&micros(*self), &mut out.reborrow())
    }
}
