//! Appending in a transaction of tokio-postgres passes the suite: in the default schema, and with an `Appender` in
//! one with an odd name.

mod support;

use support::{Fixture, Prepared};

outbox_conformance::append_suite!(
    default_schema,
    Fixture::new("outbox").await,
    transactions,
    statements,
    refusals,
    fields,
);
outbox_conformance::append_suite!(
    appender,
    Prepared(Fixture::new("Größe \"x\" 'y'").await),
    transactions,
    statements,
    refusals,
    fields,
);
