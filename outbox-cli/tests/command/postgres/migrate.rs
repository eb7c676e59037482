//! `outbox migrate` on PostgreSQL.

use super::{ODD, Shop};
use crate::support::{blocking, done, json};
use outbox_store_postgres::sqlx::{self, AssertSqlSafe, Connection, PgConnection, Row};
use serde_json::json;

#[test]
fn status_tells_what_is_applied_and_changes_nothing() {
    let shop = Shop::empty();
    let expected = |applied: &[u32], missing: &[u32]| {
        let one = |role: &str, package: &str| json!({ "role": role, "crate": package, "applied": applied, "missing": missing });
        json!({
            "up_to_date": missing.is_empty(),
            "components": [
                one("store", "outbox-store-postgres"),
                one("heap", "outbox-dlq-postgres"),
            ],
        })
    };
    let status = || json(&shop.done(&["migrate", "status", "--json"]));
    assert_eq!(status(), expected(&[], &[1]));
    shop.refused(&["migrate", "check"], 2, &["\"outbox\"", "outbox migrate"]);
    let schemas = "SELECT FROM pg_namespace WHERE nspname = 'outbox'";
    assert!(shop.rows(schemas).is_empty(), "a look made the schema");
    let up = json(&shop.done(&["migrate", "up", "--json"]));
    assert_eq!(up, expected(&[1], &[]));
    assert_eq!(status(), up);
    assert_eq!(json(&shop.done(&["migrate", "check", "--json"])), up);
    assert_eq!(json(&shop.done(&["migrate", "--json"])), up);
}

#[test]
fn the_printed_script_makes_what_a_migration_makes() {
    let shop = Shop::odd();
    let script = shop.done(&["migrate", "print"]);
    assert!(script.contains("\"My \"\"outbox\"\" & é?\".outbox_events"));
    let fresh = Shop::empty();
    blocking(async {
        let mut connection = PgConnection::connect(&fresh.url).await.unwrap();
        let script = sqlx::raw_sql(AssertSqlSafe(script));
        script.execute(&mut connection).await.unwrap();
    });
    let store = fresh.url_with(super::ODD_PARAMETER);
    let check = ["migrate", "check", "--json", "--store", &store];
    assert_eq!(json(&done(fresh.folder(), &check))["up_to_date"], true);
    assert_eq!(tables(&fresh), tables(&shop));
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
