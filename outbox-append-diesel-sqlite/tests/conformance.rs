//! Appending in a transaction of diesel on SQLite passes the suite. The group `statements` does not apply:
//! each event is a statement, which costs no round trip.

mod support;

use support::Fixture;

outbox_conformance::append_suite!(
    file,
    Fixture::new().await,
    transactions,
    refusals,
    fields,
    outside,
);
