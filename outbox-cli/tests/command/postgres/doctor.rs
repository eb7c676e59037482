//! `outbox doctor` on PostgreSQL. Objects in a schema before `pg_catalog` play what cannot be waited for.

use super::{Role, Shop, played};
use crate::doctor::{one, sound};

#[test]
fn a_sound_store_has_no_findings() {
    let shop = Shop::odd();
    sound(shop.folder(), &["--store", &shop.url]);
}

#[test]
fn rights_that_a_relay_lacks_are_named() {
    let shop = Shop::migrated();
    let role = Role::with_rights(&shop);
    let name = &role.name;
    let url = role.url();
    sound(shop.folder(), &["--store", &url]);
    role.revoke("DELETE ON outbox.outbox_retries");
    let lacks = [&**name, "DELETE ON \"outbox\".outbox_retries"];
    one(
        shop.folder(),
        &["--store", &url],
        ["error", "rights"],
        &lacks,
    );
    shop.execute(&format!(
        "GRANT DELETE ON outbox.outbox_retries TO {name}; REVOKE pg_read_all_stats FROM {name}"
    ));
    let unseen = "does not see the transactions of other users";
    one(
        shop.folder(),
        &["--store", &url],
        ["note", "transactions"],
        &[unseen],
    );
}

#[test]
fn a_transaction_that_is_open_for_long_is_named_with_its_session() {
    let shop = Shop::migrated();
    let url = played(
        &shop,
        "CREATE VIEW played.pg_stat_activity AS \
         SELECT 4711 AS pid, datname, 'billing'::name AS usename, 'reports' AS application_name, \
                'idle in transaction' AS state, NULL::xid AS backend_xid, NULL::xid AS backend_xmin, \
                now() - interval '2 hours' AS xact_start, \
                now() - interval '2 hours' AS query_start \
         FROM pg_catalog.pg_stat_activity WHERE pid = pg_backend_pid()",
    );
    let named = [
        "session 4711 (billing, reports, idle in transaction)",
        "open for 2h",
    ];
    one(
        shop.folder(),
        &["--store", &url],
        ["warning", "transactions"],
        &named,
    );
}

#[test]
fn a_prepared_transaction_is_named() {
    let shop = Shop::migrated();
    let url = played(
        &shop,
        "CREATE VIEW played.pg_prepared_xacts AS SELECT 'order-7' AS gid, \
         current_database() AS database, now() - interval '1 day' AS prepared",
    );
    let named = ["\"order-7\" has been open for 1day"];
    one(
        shop.folder(),
        &["--store", &url],
        ["warning", "transactions"],
        &named,
    );
}

#[test]
fn a_clock_that_is_off_and_a_standby_are_found() {
    let shop = Shop::migrated();
    let url = played(
        &shop,
        "CREATE FUNCTION played.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS \
         $$ SELECT pg_catalog.clock_timestamp() - interval '1 hour' $$",
    );
    let behind = ["PostgreSQL is 3600 s behind"];
    one(
        shop.folder(),
        &["--store", &url],
        ["warning", "clock"],
        &behind,
    );
    shop.execute(
        "DROP FUNCTION played.clock_timestamp(); CREATE FUNCTION played.pg_is_in_recovery() \
         RETURNS boolean LANGUAGE sql AS $$ SELECT true $$",
    );
    one(
        shop.folder(),
        &["--store", &url],
        ["error", "standby"],
        &["standby"],
    );
}

#[test]
fn a_server_that_only_speaks_the_protocol_is_refused() {
    let shop = Shop::migrated();
    let url = played(
        &shop,
        "CREATE FUNCTION played.version() RETURNS text LANGUAGE sql AS \
         $$ SELECT 'CockroachDB CCL v24.3.1 (x86_64-pc-linux-gnu)' $$",
    );
    let (code, found) = crate::doctor::examined(shop.folder(), &["--store", &url]);
    assert_eq!(code, Some(3));
    assert!(
        found
            .iter()
            .all(|one| one[3].contains("the server is CockroachDB")),
        "{found:?}"
    );
}

#[test]
fn entries_of_the_heap_without_an_event_are_counted() {
    let shop = Shop::migrated();
    shop.execute(
        "INSERT INTO outbox.outbox_dlq_heap (event_id, failure_count, first_failed_at, last_failed_at) \
         SELECT gen_random_uuid(), 1, now() - interval '1 hour', now() - interval '1 hour' \
         FROM generate_series(1, 1500)",
    );
    let found = ["without an event in the outbox: more than 1000"];
    one(
        shop.folder(),
        &["--store", &shop.url],
        ["warning", "orphans"],
        &found,
    );
}
