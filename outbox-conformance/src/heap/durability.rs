//! Heaps that outlive their handles.

use super::{HeapFixture, counts};
use crate::check::{check_eq, ok};
use outbox_core::EventId;

/// H15: a handle that is opened after all others were dropped finds the counts.
pub async fn counts_survive_their_handle<F: HeapFixture>(fixture: F) {
    let id = EventId::new();
    for _ in 0..3 {
        let heap = fixture.handle().await;
        ok(heap.record_failure(id).await);
        drop(heap);
    }
    check_eq!(
        counts(ok(fixture.handle().await.drain_exceeded(3).await)),
        [(id, 3)]
    );
}
