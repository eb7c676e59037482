//! Appending in a transaction of sqlx 0.8 passes the suite: in the default schema, and in one with an
//! odd name.

mod support;

use support::Fixture;

outbox_conformance::append_suite!(
    default_schema,
    Fixture::new("outbox").await,
    transactions,
    statements,
    refusals,
    fields,
);
outbox_conformance::append_suite!(
    own_schema,
    Fixture::new("Größe \"x\" 'y'").await,
    transactions,
    statements,
    refusals,
    fields,
);
