//! Appending in a transaction of diesel passes the suite: in the default schema, and in one with an odd
//! name.

mod support;

use support::Fixture;

outbox_conformance::append_suite!(
    default_schema,
    Fixture::new("outbox").await,
    transactions,
    statements,
    refusals,
    fields,
    outside,
);
outbox_conformance::append_suite!(
    own_schema,
    Fixture::new("Größe \"x\" 'y'").await,
    transactions,
    statements,
    refusals,
    fields,
    outside,
);
