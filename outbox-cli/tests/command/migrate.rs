//! Which migrations a file has.

use crate::support::{SHOP, done, json, open, refused};
use outbox_store_sqlite::SqliteStore;
use serde_json::json;
use std::fs;
use tempfile::TempDir;

#[test]
fn status_tells_per_crate_what_is_applied_and_what_is_missing() {
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
