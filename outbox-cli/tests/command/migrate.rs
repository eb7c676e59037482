//! Which migrations a file has.

use crate::support::{SHOP, done, json, open, refused};
use outbox_store_sqlite::SqliteStore;
use outbox_store_sqlite::rusqlite::Connection;
use serde_json::json;
use std::fs;
use tempfile::TempDir;

#[test]
fn status_lists_applied_and_missing_migrations_of_each_crate() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    // The application made the tables of the store itself, and none of the heap.
    open(folder).execute_batch(&SqliteStore::script()).unwrap();
    let before = fs::read(folder.join("shop.db")).unwrap();
    let status = ["migrate", "status", "--store", SHOP];
    let value = json(&done(folder, &[&status[..], &["--json"]].concat()));
    let expected = json!({
        "up_to_date": false,
        "components": [
            { "role": "store", "crate": "outbox-store-sqlite", "applied": [1], "missing": [] },
            { "role": "heap", "crate": "outbox-dlq-sqlite", "applied": [], "missing": [1] },
        ],
    });
    assert_eq!(value, expected);
    let text = done(folder, &status);
    assert!(
        text.contains("outbox-store-sqlite   applied: 1        missing: none"),
        "{text}"
    );
    assert!(
        text.contains("outbox-dlq-sqlite     applied: none     missing: 1"),
        "{text}"
    );
    assert_eq!(fs::read(folder.join("shop.db")).unwrap(), before);

    let check = ["migrate", "check", "--json", "--store", SHOP];
    refused(folder, &check, 2, &["dlq-heap", "outbox migrate"]);
    assert_eq!(
        fs::read(folder.join("shop.db")).unwrap().len(),
        before.len()
    );
    let up = json(&done(folder, &["migrate", "up", "--json", "--store", SHOP]));
    assert_eq!(up["up_to_date"], true);
    assert_eq!(json(&done(folder, &check)), up);
}

#[test]
fn a_heap_that_is_refused_leaves_no_store_behind() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("heap.db")).unwrap();
    for heap in [
        "sqlite:heap.db",
        "sqlite:no/folder/heap.db",
        "mysql://localhost",
    ] {
        refused(
            folder,
            &["migrate", "--store", SHOP, "--heap", heap],
            2,
            &[],
        );
        assert!(!folder.join("shop.db").exists(), "{heap}");
    }
    let connection = open(folder);
    connection
        .execute_batch("CREATE TABLE outbox_dlq_heap (x)")
        .unwrap();
    drop(connection);
    let before = fs::read(folder.join("shop.db")).unwrap();
    refused(
        folder,
        &["migrate", "--store", SHOP],
        2,
        &["outbox_dlq_heap"],
    );
    assert_eq!(fs::read(folder.join("shop.db")).unwrap(), before);
}

#[test]
fn the_tables_of_an_inbox_are_migrated_alone() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let inbox = |action: &str| {
        ["migrate", action, "--json", "--inbox", "sqlite:billing.db"].map(str::to_owned)
    };
    let run = |action: &str| {
        let arguments = inbox(action);
        done(folder, &arguments.each_ref().map(String::as_str))
    };
    let missing = inbox("check");
    refused(
        folder,
        &missing.each_ref().map(String::as_str),
        2,
        &["billing.db", "does not exist"],
    );
    let migrated = json(&run("up"));
    assert_eq!(migrated["up_to_date"], true);
    assert_eq!(migrated["components"].as_array().unwrap().len(), 1);
    assert_eq!(migrated["components"][0]["crate"], "outbox-inbox-sqlite");
    run("check");
    assert!(run("print").contains("outbox_inbox"));
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'outbox_events%'";
    let billing = Connection::open(folder.join("billing.db")).unwrap();
    let stores: i64 = billing.query_row(tables, [], |row| row.get(0)).unwrap();
    assert_eq!(stores, 0);
}

#[test]
fn a_script_without_a_transaction_runs_in_the_callers() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let print = ["migrate", "print", "--no-transaction", "--store", SHOP];
    let inbox = ["migrate", "print", "--no-transaction", "--inbox", SHOP];
    let script = done(folder, &print) + &done(folder, &inbox);
    let mut connection = open(folder);
    let tx = connection.transaction().unwrap();
    tx.execute_batch(&script).unwrap();
    tx.rollback().unwrap();
    assert_eq!(
        schema(&connection),
        [""; 0],
        "the script committed something"
    );
    let tx = connection.transaction().unwrap();
    tx.execute_batch(&script).unwrap();
    tx.commit().unwrap();

    let migrated = TempDir::new().unwrap();
    done(migrated.path(), &["migrate", "--store", SHOP]);
    done(migrated.path(), &["migrate", "--inbox", SHOP]);
    assert_eq!(schema(&connection), schema(&open(migrated.path())));
    done(folder, &["migrate", "check", "--store", SHOP]);
    done(folder, &["migrate", "check", "--inbox", SHOP]);
    for action in ["up", "check", "status"] {
        let misplaced = ["migrate", action, "--no-transaction", "--store", SHOP];
        refused(
            folder,
            &misplaced,
            2,
            &["--no-transaction", "migrate print"],
        );
    }
}

/// The statement of each table, index and trigger.
fn schema(connection: &Connection) -> Vec<String> {
    let all = "SELECT concat_ws(' ', type, name, sql) FROM sqlite_schema
               WHERE name NOT LIKE 'sqlite_%' ORDER BY 1";
    let mut all = connection.prepare(all).unwrap();
    let all = all.query_map([], |row| row.get(0)).unwrap();
    all.map(Result::unwrap).collect()
}
