//! The PostgreSQL store passes the suite: in the default schema, in another schema, and over a wire that
//! delivers replies in parts. Each handle and each transaction has its own connections; in the other
//! schema each has a single one. `passes`, which is about the processors, runs in one schema.

mod support;

use support::Own;

outbox_conformance::store_suite!(
    default_schema,
    Own::in_schema("outbox"),
    claims,
    settlements,
    outcomes,
    kept,
    flights,
    held,
    budgets,
    shares,
    races,
    quarantine,
    dead_letters,
    cancellation,
    passes,
    late,
    holding,
    edits,
    bystanders,
    restoring,
    wire,
);
outbox_conformance::store_suite!(
    slow_wire,
    Own::over_a_slow_wire(),
    claims,
    settlements,
    kept,
    quarantine,
    dead_letters,
    late
);
outbox_conformance::store_suite!(
    own_schema,
    Own::in_schema("Größe \"x\" 'y'").on_one_connection(),
    claims,
    settlements,
    outcomes,
    kept,
    flights,
    held,
    budgets,
    shares,
    races,
    quarantine,
    dead_letters,
    cancellation,
    late,
    holding,
    edits,
    bystanders,
    restoring,
);
outbox_conformance::registry_suite!(
    default_schema_registry,
    Own::in_schema("outbox"),
    reports,
    overviews,
    blocking,
    cancellation
);
outbox_conformance::registry_suite!(
    own_schema_registry,
    Own::in_schema("Größe \"x\" 'y'").on_one_connection(),
    reports,
    overviews,
    blocking
);
