//! A migration and an opening are cancelled at each await point.

use outbox_conformance::{Folder, at_each_point};
use outbox_core::{DlqHeap, EventId};
use outbox_dlq_sqlite::SqliteDlqHeap;

async fn works(heap: SqliteDlqHeap) {
    let id = EventId::new();
    heap.record_failure(id).await.expect("counted");
    let drained = heap.drain_exceeded(1).await.expect("drained");
    let counts = drained.iter().map(|entry| (entry.id, entry.failure_count));
    assert_eq!(counts.collect::<Vec<_>>(), [(id, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_migration_or_opening_can_be_repeated() {
    let folder = Folder::new();
    let mut files = 0..;
    at_each_point("migrate", async |point| {
        let file = format!("{}.db", files.next().unwrap_or(0));
        let migrate = || SqliteDlqHeap::migrate(folder.path().join(&file));
        let ended = point.reach(migrate()).await.map(Result::unwrap);
        works(migrate().await.expect("migrated again")).await;
        ended.is_some()
    })
    .await;
    at_each_point("open", async |point| {
        let open = || SqliteDlqHeap::open(folder.path().join("0.db"));
        let ended = point.reach(open()).await.map(Result::unwrap);
        works(open().await.expect("opened again")).await;
        ended.is_some()
    })
    .await;
}
