//! `outbox migrate` on PostgreSQL.

use super::{ODD, Shop};
use crate::support::{arrived, blocking, done, events, json};
use outbox_store_postgres::sqlx::{self, AssertSqlSafe, Connection, PgConnection, Row};
use serde_json::json;

#[test]
fn status_tells_what_is_applied_and_changes_nothing() {
    let shop = Shop::empty();
    let expected = |is_applied: bool| {
        let one = |role: &str, package: &str, all: &[u32]| {
            let (applied, missing) = if is_applied {
                (all, &[][..])
            } else {
                (&[][..], all)
            };
            json!({ "role": role, "crate": package, "applied": applied, "missing": missing, "newer": null })
        };
        json!({
            "up_to_date": is_applied,
            "components": [
                one("store", "outbox-store-postgres", &[1, 2]),
                one("heap", "outbox-dlq-postgres", &[1]),
                one("destinations", "outbox-cli", &[1]),
            ],
        })
    };
    let status = || json(&shop.done(&["migrate", "status", "--json"]));
    assert_eq!(status(), expected(false));
    shop.refused(&["migrate", "check"], 2, &["\"outbox\"", "outbox migrate"]);
    let schemas = "SELECT FROM pg_namespace WHERE nspname = 'outbox'";
    assert!(shop.rows(schemas).is_empty(), "a look made the schema");
    let up = json(&shop.done(&["migrate", "up", "--json"]));
    assert_eq!(up, expected(true));
    assert_eq!(status(), up);
    assert_eq!(json(&shop.done(&["migrate", "check", "--json"])), up);
    assert_eq!(json(&shop.done(&["migrate", "--json"])), up);
}

#[test]
fn tables_of_a_newer_version_are_used_while_they_are_compatible() {
    let shop = Shop::migrated();
    shop.appended(&events("order.placed", 3));
    shop.execute(
        "INSERT INTO outbox.outbox_migrations (component, version, min_compatible)
         SELECT DISTINCT component, 99, 1 FROM outbox.outbox_migrations",
    );
    shop.done(&["relay", "--drain", "--to", "file:out.ndjson"]);
    assert_eq!(arrived(&shop.folder().join("out.ndjson")).len(), 3);
    let check = json(&shop.done(&["migrate", "check", "--json"]));
    assert_eq!(check["up_to_date"], true);
    assert_eq!(check["components"][0]["newer"], 99);
    shop.done(&["migrate"]);
    shop.execute(
        "UPDATE outbox.outbox_migrations SET min_compatible = 99 WHERE component = 'destinations'",
    );
    let numbers = [
        "destinations",
        "version 99 or a later one",
        "this program knows 1",
    ];
    shop.refused(&["migrate", "check"], 2, &numbers);
    shop.refused(&["migrate"], 2, &numbers);
}

#[test]
fn the_printed_script_makes_what_a_migration_makes() {
    let shop = Shop::odd();
    let script = shop.done(&["migrate", "print"]);
    assert!(script.contains("\"My \"\"outbox\"\" & é?\".outbox_events"));
    let fresh = Shop::empty();
    run(&fresh, script);
    let store = fresh.url_with(super::ODD_PARAMETER);
    let check = ["migrate", "check", "--json", "--store", &store];
    assert_eq!(json(&done(fresh.folder(), &check))["up_to_date"], true);
    assert_eq!(tables(&fresh), tables(&shop));
}

#[test]
fn a_script_without_a_transaction_runs_in_the_callers() {
    let shop = Shop::odd();
    let script = shop.done(&["migrate", "print", "--no-transaction"]);
    let fresh = Shop::empty();
    run(&fresh, format!("START TRANSACTION; {script} ROLLBACK"));
    assert!(
        fresh.rows(SCHEMAS).is_empty(),
        "the script committed something"
    );
    run(&fresh, format!("START TRANSACTION; {script} COMMIT"));
    let store = fresh.url_with(super::ODD_PARAMETER);
    done(fresh.folder(), &["migrate", "check", "--store", &store]);
    assert_eq!(tables(&fresh), tables(&shop));
    assert_eq!(functions(&fresh), functions(&shop));
}

/// Runs a script as psql does: with the server's own clock.
fn run(shop: &Shop, script: String) {
    blocking(async {
        let mut connection = PgConnection::connect(&shop.url).await.unwrap();
        let script = sqlx::raw_sql(AssertSqlSafe(script));
        script.execute(&mut connection).await.unwrap();
    });
}

/// The schemas that are ours.
const SCHEMAS: &str = "SELECT FROM pg_namespace WHERE nspname LIKE '%outbox%'";

/// Each function, trigger and index of the odd schema.
fn functions(shop: &Shop) -> Vec<String> {
    let all = format!(
        "WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname = '{ODD}')
         SELECT pg_get_functiondef(p.oid) FROM pg_proc AS p, ours WHERE p.pronamespace = ours.oid
         UNION ALL
         SELECT pg_get_triggerdef(t.oid) FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid, ours
         WHERE c.relnamespace = ours.oid AND NOT t.tgisinternal
         UNION ALL
         SELECT indexdef FROM pg_indexes WHERE schemaname = '{ODD}'
         ORDER BY 1"
    );
    let rows = shop.rows(&all);
    assert!(rows.len() > 20);
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn the_table_of_an_inbox_is_migrated_alone() {
    let shop = Shop::empty();
    let inbox = ["migrate", "--json", "--inbox", &shop.url];
    let migrated = json(&done(shop.folder(), &inbox));
    assert_eq!(migrated["up_to_date"], true);
    assert_eq!(migrated["components"][0]["crate"], "outbox-inbox-postgres");
    let tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'outbox' ORDER BY 1";
    let names: Vec<String> = shop.rows(tables).iter().map(|row| row.get(0)).collect();
    assert_eq!(names, ["outbox_inbox", "outbox_migrations"]);
}

/// Each column of the odd schema's tables.
fn tables(shop: &Shop) -> Vec<String> {
    let columns = format!(
        "SELECT concat_ws(' ', table_name, column_name, data_type, column_default)
         FROM information_schema.columns WHERE table_schema = '{ODD}' ORDER BY 1"
    );
    let rows = shop.rows(&columns);
    assert!(!rows.is_empty());
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn a_script_is_printed_without_a_server() {
    let shop = Shop::empty();
    let print = [
        "migrate",
        "print",
        "--store",
        "postgres://127.0.0.1:1/x?schema=mine",
    ];
    let script = done(shop.folder(), &print);
    assert!(
        script.contains("CREATE SCHEMA IF NOT EXISTS \"mine\""),
        "{script}"
    );
    let sqlite = ["migrate", "print", "--store", "sqlite:shop.db"];
    let script = done(shop.folder(), &sqlite);
    assert!(script.contains("outbox_events ("), "{script}");
    assert!(!shop.folder().join("shop.db").exists());
}
