//! Which migrations a file has.

use crate::doctor::examined;
use crate::support::{SHOP, appended, arrived, command, done, events, json, open, refused};
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
            { "role": "store", "crate": "outbox-store-sqlite", "applied": [1, 2, 3], "missing": [], "newer": null },
            { "role": "heap", "crate": "outbox-dlq-sqlite", "applied": [], "missing": [1], "newer": null },
            { "role": "destinations", "crate": "outbox-cli", "applied": [], "missing": [1], "newer": null },
        ],
    });
    assert_eq!(value, expected);
    let text = done(folder, &status);
    assert!(
        text.contains("outbox-store-sqlite   applied: 1, 2, 3  missing: none"),
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

/// A later version of all tables, which programs of the given version or later may use.
const NEWER: &str = "INSERT INTO outbox_migrations (component, version, min_compatible)
                     SELECT DISTINCT component, 99, 1 FROM outbox_migrations";

#[test]
fn tables_of_a_newer_version_are_used_while_they_are_compatible() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &events("order.placed", 3));
    open(folder).execute_batch(NEWER).unwrap();
    let relay = [
        "relay",
        "--drain",
        "--to",
        "file:out.ndjson",
        "--store",
        SHOP,
    ];
    let output = command(folder, &relay)
        .env("RUST_LOG", "info")
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert_eq!(arrived(&folder.join("out.ndjson")).len(), 3);
    assert!(log.contains("the tables are of version 99"), "{log}");
    let check = json(&done(
        folder,
        &["migrate", "check", "--json", "--store", SHOP],
    ));
    assert_eq!(check["up_to_date"], true);
    let store = json(
        r#"{ "role": "store", "crate": "outbox-store-sqlite",
             "applied": [1, 2, 3], "missing": [], "newer": 99 }"#,
    );
    assert_eq!(check["components"][0], store);
    let text = done(folder, &["migrate", "--store", SHOP]);
    assert!(text.contains("missing: none  newer: version 99"), "{text}");
    let (code, found) = examined(folder, &["--store", SHOP]);
    assert_eq!((code, found.len()), (Some(0), 3), "{found:?}");
    for [severity, _, check, problem] in found {
        assert_eq!([&*severity, &*check], ["warning", "schema"]);
        assert!(problem.contains("version 99"), "{problem}");
    }
}

#[test]
fn tables_of_a_newer_version_are_refused_when_they_are_not_compatible() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &events("order.placed", 3));
    let newer = NEWER.replace("99, 1", "99, 98");
    open(folder).execute_batch(&newer).unwrap();
    let numbers = [
        "version 99",
        "version 98 or a later one",
        "this program knows 3",
    ];
    let relay = ["relay", "--drain", "--to", "file:out.ndjson"];
    for command in [&relay[..], &["migrate"], &["migrate", "check"], &["status"]] {
        let command = [command, &["--store", SHOP]].concat();
        refused(folder, &command, 2, &numbers);
    }
    let (code, found) = examined(folder, &["--store", SHOP]);
    assert_eq!((code, found.len()), (Some(3), 1), "{found:?}");
    assert!(found.iter().all(|one| one[0] == "error"), "{found:?}");
}

/// The statement of each table, index and trigger.
fn schema(connection: &Connection) -> Vec<String> {
    let all = "SELECT concat_ws(' ', type, name, sql) FROM sqlite_schema
               WHERE name NOT LIKE 'sqlite_%' ORDER BY 1";
    let mut all = connection.prepare(all).unwrap();
    let all = all.query_map([], |row| row.get(0)).unwrap();
    all.map(Result::unwrap).collect()
}
