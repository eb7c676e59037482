//! A heap in another place than the store.

use crate::support::{SHOP, appended, blocking, done, events, json, quarantined, refused};
use outbox_core::{DlqHeap, FailedAttempt};
use outbox_dlq_sqlite::SqliteDlqHeap;
use std::path::Path;
use tempfile::TempDir;

const HEAP: &str = "sqlite:heap.db";

fn failures(folder: &Path, file: &str) -> u64 {
    blocking(async {
        let heap = SqliteDlqHeap::open(folder.join(file)).await.unwrap();
        heap.size().await.unwrap().unwrap().entries
    })
}

#[test]
fn a_heap_in_another_file_counts_and_is_forgotten_there() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    done(folder, &["migrate", "--store", SHOP, "--heap", HEAP]);
    // The store alone has no heap, so it is asked of the other file and of no other.
    refused(
        folder,
        &["status", "--store", SHOP],
        2,
        &["dlq-heap", "outbox migrate"],
    );
    let both = ["--store", SHOP, "--heap", HEAP];
    let status = |name: &str| {
        json(&done(folder, &[&["status", "--json"], &both[..]].concat()))[name].clone()
    };
    assert_eq!(status("heap_entries"), 0);

    // Migrates the heap of the store's own file too: it must stay empty.
    let ids = quarantined(folder, &events("order.placed", 1), "refused");
    blocking(async {
        let heap = SqliteDlqHeap::open(folder.join("heap.db")).await.unwrap();
        heap.record_failures(&[FailedAttempt::new(ids[0])])
            .await
            .unwrap();
    });
    assert_eq!(status("heap_entries"), 1);
    let id = ids[0].to_string();
    done(folder, &["dlq", "replay", &id, "--store", SHOP]);
    assert_eq!(
        failures(folder, "heap.db"),
        1,
        "another heap forgot the events"
    );
    appended(folder, &[]);
    let again = ["dlq", "replay", "--all", "--json"];
    done(folder, &[&again, &both[..]].concat());
    assert_eq!(
        failures(folder, "heap.db"),
        1,
        "no dead letter, nothing to forget"
    );
}

#[test]
fn a_replay_forgets_the_count_in_the_heap_that_is_named() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    done(folder, &["migrate", "--store", SHOP, "--heap", HEAP]);
    let ids = quarantined(folder, &events("order.placed", 2), "refused");
    for file in ["shop.db", "heap.db"] {
        blocking(async {
            let heap = SqliteDlqHeap::open(folder.join(file)).await.unwrap();
            heap.record_failures(&[FailedAttempt::new(ids[0])])
                .await
                .unwrap();
        });
    }
    done(
        folder,
        &["dlq", "replay", "--all", "--store", SHOP, "--heap", HEAP],
    );
    assert_eq!(
        (failures(folder, "shop.db"), failures(folder, "heap.db")),
        (1, 0)
    );
}

#[test]
fn the_relay_quarantines_what_the_named_heap_has_counted() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    done(folder, &["migrate", "--store", SHOP, "--heap", HEAP]);
    let late = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    let delayed = events("order.placed", 1).remove(0).available_at(late);
    appended(folder, std::slice::from_ref(&delayed));
    blocking(async {
        let heap = SqliteDlqHeap::open(folder.join("heap.db")).await.unwrap();
        let failures = vec![FailedAttempt::new(delayed.id); 3];
        heap.record_failures(&failures).await.unwrap();
    });
    // The event is due in an hour, so only the quarantine can end this relay.
    let relay = [
        "relay",
        "--drain",
        "--failure-threshold",
        "3",
        "--store",
        SHOP,
        "--heap",
        HEAP,
    ];
    assert_eq!(done(folder, &relay), "");
    let dead_letter = json(&done(folder, &["dlq", "list", "--json", "--store", SHOP]));
    assert_eq!(dead_letter["event"]["id"], delayed.id.to_string());
    assert_eq!(dead_letter["failure_count"], 3);
}
