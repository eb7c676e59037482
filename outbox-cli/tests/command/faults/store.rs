//! Faults of the store.

use super::endpoint::Endpoint;
use super::fault::Fault;
use super::fault::Now::{self, Grows, Is, Nan, Seldom, Stays};
use super::fault::{DEAD, DUE, HEAP_UP, PASS, SAMPLE, UP};
use super::{Case, PUBLISHED};
use crate::health::old_events;
use crate::postgres::{Role, Shop, played};
use crate::support::{SHOP, append_to, appended, blocking, done, events, open};
use axum::http::StatusCode;
use outbox_core::Event;
use outbox_store_postgres::sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use test_servers::{Kind, Server, search_path};

/// The series of a store whose relay has ended.
const WITHOUT_RELAY: &[(&str, Now)] = &[
    (UP, Is(0)),
    (HEAP_UP, Nan),
    (PASS, Nan),
    (SAMPLE, Nan),
    (DUE, Nan),
    (DEAD, Nan),
];

pub(super) const PASSWORD: Fault = Fault {
    name: "wrong password of the store",
    ready: 503,
    health: &["not_open"],
    series: WITHOUT_RELAY,
    alerts: &["OutboxStoreDown"],
    status: "no relay runs; nothing is pending",
    failing: &["silent_relay"],
    doctor: &["error store"],
};

/// Runs statements as the owner of the server.
fn execute(url: &str, sql: &'static str) {
    blocking(async {
        let mut owner = PgConnection::connect(url).await.unwrap();
        owner.execute(sql).await.unwrap();
    });
}

#[test]
fn a_password_of_a_role_that_changes() {
    let server = Server::start(Kind::Postgres, &search_path()).expect("a server");
    let rules = "COPY (SELECT 'host all relay 127.0.0.1/32 scram-sha-256' UNION ALL \
                 SELECT 'host all all 127.0.0.1/32 trust') TO PROGRAM 'cat > pg_hba.conf'";
    execute(
        server.url(),
        "CREATE ROLE relay SUPERUSER LOGIN PASSWORD 'old-4711'",
    );
    execute(server.url(), rules);
    execute(server.url(), "SELECT pg_reload_conf()");
    let folder = TempDir::new().unwrap();
    done(folder.path(), &["migrate", "--store", server.url()]);
    let url = server.url().replace("postgres@", "relay:old-4711@");
    let mut case = Case::beside_another(folder.path(), &url);
    server.url().clone_into(&mut case.asked);
    execute(server.url(), "ALTER ROLE relay PASSWORD 'new-4711'");
    execute(
        server.url(),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'relay'",
    );
    case.shown.until_finding("not_open");
    // The relay could not remove its row.
    let a_minute_passes =
        "UPDATE outbox.outbox_relays SET heard_at = heard_at - interval '1 minute'";
    execute(server.url(), a_minute_passes);
    PASSWORD.is_seen(&case);
}

pub(super) const RIGHTS: Fault = Fault {
    name: "rights removed",
    ready: 503,
    health: &["not_open"],
    series: WITHOUT_RELAY,
    alerts: &["OutboxStoreDown"],
    status: "NO RELAY RUNS: 1 event is pending",
    failing: &[],
    doctor: &["error rights"],
};

#[test]
fn a_right_that_is_revoked() {
    let shop = Shop::migrated();
    let role = Role::with_rights(&shop);
    let mut case = Case::beside_another(shop.folder(), &role.url());
    shop.url.clone_into(&mut case.asked);
    role.revoke("UPDATE ON outbox.outbox_lanes");
    shop.appended(&events("order.placed", 1));
    RIGHTS.is_seen(&case);
}

/// A process that has no other store ends, so that it is started again with what is in its environment then.
#[test]
fn the_relay_of_one_store_ends_when_a_right_is_revoked() {
    let shop = Shop::migrated();
    let role = Role::with_rights(&shop);
    let case = Case::start(shop.folder(), &role.url(), "file:out", "*");
    role.revoke("UPDATE ON outbox.outbox_lanes");
    shop.appended(&events("order.placed", 1));
    let mut relay = case.shown.relay;
    assert_eq!(relay.0.wait().unwrap().code(), Some(2));
}

pub(super) const CLOCK: Fault = Fault {
    name: "clock off",
    ready: 200,
    health: &[],
    series: &[],
    alerts: &[],
    status: "1 relay; nothing is due",
    failing: &[],
    doctor: &["warning clock"],
};

#[test]
fn a_clock_that_is_off() {
    let shop = Shop::migrated();
    let clock = "CREATE FUNCTION played.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS \
                 $$ SELECT pg_catalog.clock_timestamp() - interval '1 hour' $$";
    let url = played(&shop, clock);
    let mut case = Case::start(shop.folder(), &url, "file:out", "*");
    let mut events = events("order.placed", 3);
    events[0].created_at += Duration::from_secs(7200);
    events[1].created_at -= Duration::from_secs(7200);
    shop.appended(&events);
    case.until_published(3);
    case.usual.clear();
    CLOCK.is_seen(&case);
}

pub(super) const HELD: Fault = Fault {
    name: "held key",
    ready: 200,
    health: &[],
    series: &[(DEAD, Is(1))],
    alerts: &["OutboxDeadLettersGrow"],
    status: "1 relay; nothing is due",
    failing: &["dead_letters"],
    doctor: &["warning blocked-keys"],
};

#[test]
fn a_key_that_a_dead_letter_holds() {
    let folder = TempDir::new().unwrap();
    let keyed = |event: Event| event.ordering_key("leonie");
    appended(folder.path(), &[]);
    let endpoint = Endpoint::new(StatusCode::PAYLOAD_TOO_LARGE, Duration::ZERO);
    let relay = ["--block-keys", "--to", &endpoint.to()];
    let case = Case::with(folder.path(), SHOP, &relay, &endpoint.name());
    let events: Vec<Event> = events("order.placed", 3).into_iter().map(keyed).collect();
    append_to(folder.path(), "shop", &events);
    HELD.is_seen(&case);
}

pub(super) const OPEN: Fault = Fault {
    name: "stuck transaction",
    ready: 200,
    health: &[],
    series: &[],
    alerts: &[],
    status: "1 relay; nothing is due",
    failing: &[],
    doctor: &["warning transactions"],
};

pub(super) const LOCKED: Fault = Fault {
    name: "stuck transaction with a lock",
    ready: 503,
    health: &["unavailable"],
    series: &[(UP, Is(0)), (PASS, Stays), (SAMPLE, Stays), (DUE, Stays)],
    alerts: &["OutboxNoRelay", "OutboxStoreDown"],
    status: "unavailable: no answer within 10s",
    failing: &[],
    doctor: &["error locks", "error store"],
};

/// Runs `work` while a transaction is open that has run `sql`.
fn during(shop: &Shop, sql: &str, work: impl FnOnce()) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut connection = runtime.block_on(PgConnection::connect(&shop.url)).unwrap();
    let begin = format!("BEGIN; {sql}");
    runtime
        .block_on(connection.execute(AssertSqlSafe(begin)))
        .unwrap();
    work();
    runtime.block_on(connection.execute("ROLLBACK")).unwrap();
}

#[test]
fn a_transaction_that_stays_open() {
    let shop = Shop::migrated();
    // Others may have a short transaction when the doctor looks.
    let view = "CREATE VIEW played.pg_stat_activity AS \
                SELECT pid, datname, usename, application_name, state, backend_xid, backend_xmin, query_start, \
                       CASE application_name WHEN 'report' THEN xact_start - interval '1 hour' \
                       ELSE xact_start END AS xact_start \
                FROM pg_catalog.pg_stat_activity";
    let case = Case::start(shop.folder(), &played(&shop, view), "file:out", "*");
    let open = "SET application_name = 'report'; SELECT pg_current_xact_id()";
    during(&shop, open, || {
        shop.appended(&events("order.placed", 3));
        case.until_published(3);
        OPEN.is_seen(&case);
    });
}

#[test]
fn a_transaction_that_stays_open_and_has_locked_a_table() {
    let shop = Shop::migrated();
    let case = Case::start(shop.folder(), &shop.url, "file:out", "*");
    shop.appended(&events("order.placed", 3));
    case.until_published(3);
    during(&shop, "LOCK TABLE outbox.outbox_lanes", || {
        LOCKED.is_seen(&case);
    });
}

pub(super) const FULL: Fault = Fault {
    name: "disk full at the store",
    ready: 503,
    health: &["unavailable"],
    series: &[
        (UP, Is(0)),
        (PASS, Seldom),
        (DUE, Grows),
        (PUBLISHED, Seldom),
    ],
    alerts: &[
        "OutboxBehind",
        "OutboxNoProgress",
        "OutboxNoRelay",
        "OutboxStoreDown",
    ],
    status: "no relay reports, but events are claimed",
    failing: &["silent_relay"],
    doctor: &["error relays", "warning relays"],
};

#[test]
fn a_full_disk_of_a_store() {
    let folder = TempDir::new().unwrap();
    appended(folder.path(), &[]);
    let limited = |relay: Command| {
        let mut limited = Command::new("sh");
        let folder = relay.get_current_dir().unwrap().to_owned();
        limited.current_dir(folder).env_clear().args([
            "-c",
            "trap '' XFSZ; ulimit -f 512; exec \"$@\"",
            "sh",
        ]);
        limited.arg(relay.get_program()).args(relay.get_args());
        limited
    };
    let case = Case::run(folder.path(), SHOP, &["--to", "file:out"], "*", limited);
    append_to(folder.path(), "shop", &old_events(20_000));
    case.shown.until_finding("unavailable");
    // The relay cannot write its row either.
    let a_minute_passes = "UPDATE outbox_relays SET heard_at = heard_at - 60000000";
    open(folder.path()).execute_batch(a_minute_passes).unwrap();
    FULL.is_seen(&case);
}
