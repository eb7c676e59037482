//! The PostgreSQL store passes the suite; each handle and each transaction has its own connections.

mod support;

use support::Own;

outbox_conformance::store_suite!(
    default_schema,
    Own::in_schema("outbox"),
    claims,
    races,
    quarantine,
    letters,
    holding,
    bystanders,
    restoring,
);
outbox_conformance::store_suite!(
    own_schema,
    Own::in_schema("Größe \"x\" 'y'"),
    claims,
    races,
    quarantine,
    letters,
    holding,
    bystanders,
    restoring,
);
