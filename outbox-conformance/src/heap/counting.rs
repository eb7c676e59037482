//! One caller: counts, thresholds, forgetting, times.

use super::script::scripts_match;
use super::{HeapFixture, counts, each};
use crate::case::progress;
use crate::check::{check, check_eq, nth, ok};
use crate::effort::times;
use outbox_core::{DlqEntry, DlqHeap, EventId, FailedAttempt};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

async fn fail(heap: &dyn DlqHeap, id: EventId, times: u32) {
    for _ in 0..times {
        ok(heap.record_failure(id).await);
    }
}

/// H2: each drain of a new heap is empty.
pub async fn a_new_heap_is_empty<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    for threshold in [0, 1, u32::MAX] {
        check_eq!(ok(heap.drain_exceeded(threshold).await), []);
    }
}

/// H1: n failures count n, through any handle.
pub async fn failures_add_up<F: HeapFixture>(fixture: F) {
    let (one, two) = (EventId::new(), EventId::new());
    fail(&*fixture.handle().await, one, 3).await;
    fail(&*fixture.handle().await, two, 1).await;
    fail(&*fixture.handle().await, one, 2).await;
    let drained = ok(fixture.handle().await.drain_exceeded(1).await);
    let mut expected = vec![(one, 5), (two, 1)];
    expected.sort_unstable();
    check_eq!(counts(drained), expected);
}

/// H2: below the threshold an entry stays with its count; at the threshold it leaves.
pub async fn an_entry_leaves_at_the_threshold<F: HeapFixture>(fixture: F) {
    let (heap, id) = (fixture.handle().await, EventId::new());
    fail(&*heap, id, 2).await;
    for threshold in [3, 4, u32::MAX] {
        check_eq!(ok(heap.drain_exceeded(threshold).await), []);
    }
    fail(&*heap, id, 1).await;
    check_eq!(counts(ok(heap.drain_exceeded(3).await)), [(id, 3)]);
    fail(&*heap, id, 5).await;
    check_eq!(
        counts(ok(heap.drain_exceeded(3).await)),
        [(id, 5)],
        "over the threshold"
    );
}

/// H2: each drain uses the threshold of its call.
pub async fn the_threshold_may_change_between_calls<F: HeapFixture>(fixture: F) {
    let (heap, ids) = (fixture.handle().await, [(); 3].map(|()| EventId::new()));
    for (id, times) in ids.into_iter().zip([1, 3, 5]) {
        fail(&*heap, id, times).await;
    }
    for (threshold, expected) in [
        (5, &[(ids[2], 5)][..]),
        (u32::MAX, &[]),
        (3, &[(ids[1], 3)]),
        (2, &[]),
        (1, &[(ids[0], 1)]),
    ] {
        let drained = ok(heap.drain_exceeded(threshold).await);
        check_eq!(counts(drained), expected, "threshold {threshold}");
    }
}

/// H2: a drain that finds nothing succeeds and changes no count and no time.
pub async fn an_empty_drain_changes_nothing<F: HeapFixture>(fixture: F) {
    const LONG: Duration = Duration::from_secs(1000);
    let (heap, id) = (fixture.handle().await, EventId::new());
    check_eq!(ok(heap.drain_exceeded(3).await), []);
    fail(&*heap, id, 2).await;
    fixture.elapse(LONG).await;
    for _ in 0..3 {
        check_eq!(ok(heap.drain_exceeded(3).await), []);
    }
    let drained = ok(heap.drain_exceeded(2).await);
    let entry = nth(&drained, 0, "drained entries");
    let (first, last) = (entry.first_failed_at, entry.last_failed_at);
    check!(
        last < first + LONG,
        "expected the times of the failures, came later ones: {drained:?}"
    );
    check_eq!(counts(drained), [(id, 2)]);
}

/// H2: no count is zero, so a threshold of zero means one.
pub async fn threshold_zero_behaves_as_one<F: HeapFixture>(fixture: F) {
    let (heap, id) = (fixture.handle().await, EventId::new());
    fail(&*heap, id, 1).await;
    check_eq!(counts(ok(heap.drain_exceeded(0).await)), [(id, 1)]);
}

/// H3: counts are exact above `i32::MAX` and stay at `u32::MAX`.
pub async fn counts_saturate<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    for (planted, after) in [
        (0x7fff_ffff, 0x8000_0000),
        (0xffff_fffd, 0xffff_fffe),
        (0xffff_fffe, 0xffff_ffff),
        (0xffff_ffff, 0xffff_ffff),
    ] {
        let id = EventId::new();
        fixture.plant(DlqEntry::new(id, planted, now, now)).await;
        fail(&*heap, id, 1).await;
        check_eq!(counts(ok(heap.drain_exceeded(after).await)), [(id, after)]);
    }
}

/// H4: a success clears the count, and only that of its event.
pub async fn a_success_forgets_the_event<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    let (one, two) = (EventId::new(), EventId::new());
    fail(&*heap, one, 4).await;
    fail(&*heap, two, 2).await;
    ok(heap.record_success(one).await);
    fail(&*heap, one, 1).await;
    let mut expected = vec![(one, 1), (two, 2)];
    expected.sort_unstable();
    check_eq!(counts(ok(heap.drain_exceeded(1).await)), expected);
}

/// H4: forgetting an unknown id succeeds and creates nothing.
pub async fn forgetting_an_unknown_id_creates_nothing<F: HeapFixture>(fixture: F) {
    let (heap, id) = (fixture.handle().await, EventId::new());
    for _ in 0..2 {
        ok(heap.record_success(id).await);
        ok(heap.forget(&[id, EventId::new()]).await);
    }
    check_eq!(ok(heap.drain_exceeded(0).await), []);
    fail(&*heap, id, 1).await;
    check_eq!(counts(ok(heap.drain_exceeded(1).await)), [(id, 1)]);
    ok(heap.record_success(id).await);
    check_eq!(ok(heap.drain_exceeded(0).await), [], "after a drain");
}

/// H5: a drained entry is gone, and its event counts from one again.
pub async fn a_drained_event_starts_again<F: HeapFixture>(fixture: F) {
    let (heap, id) = (fixture.handle().await, EventId::new());
    fail(&*heap, id, 3).await;
    check_eq!(counts(ok(heap.drain_exceeded(3).await)), [(id, 3)]);
    check_eq!(ok(heap.drain_exceeded(1).await), []);
    fail(&*heap, id, 1).await;
    check_eq!(counts(ok(heap.drain_exceeded(1).await)), [(id, 1)]);
}

/// H1: Any UUID is an id.
pub async fn odd_ids_come_back_exactly<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    // No byte is there twice, so that each exchange of two bytes shows. In a random id it may not.
    let no_byte_twice = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
    let mut ids: Vec<EventId> = [
        Uuid::nil(),
        Uuid::max(),
        no_byte_twice,
        Uuid::new_v4(),
        Uuid::now_v7(),
    ]
    .map(EventId::from)
    .to_vec();
    for id in &ids {
        fail(&*heap, *id, 1).await;
    }
    ids.sort_unstable();
    let expected: Vec<_> = ids.into_iter().map(|id| (id, 1)).collect();
    check_eq!(counts(ok(heap.drain_exceeded(1).await)), expected);
}

/// H7: batches of none, of one id twice, and of many equal their single calls.
pub async fn a_batch_equals_its_single_calls<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    let ids: Vec<EventId> = (0..500).map(|_| EventId::new()).collect();
    ok(heap.record_failures(&[]).await);
    ok(heap.forget(&[]).await);
    let mut failures: Vec<_> = ids.iter().map(|id| FailedAttempt::new(*id)).collect();
    failures.push(FailedAttempt::new(ids[7]));
    ok(heap.record_failures(&failures).await);
    fail(&*heap, ids[8], 1).await;
    ok(heap.forget(&ids[..5]).await);
    let mut expected: Vec<_> = ids[5..].iter().map(|id| (*id, 1)).collect();
    for twice in [7, 8] {
        expected[twice - 5].1 = 2;
    }
    expected.sort_unstable();
    check_eq!(counts(ok(heap.drain_exceeded(1).await)), expected);
}

/// H7: no batch and no drain is too large. A smaller one comes first, as it shows most faults
/// quickly.
pub async fn a_large_batch_equals_its_single_calls<F: HeapFixture>(fixture: F) {
    let heap = fixture.handle().await;
    // A statement has at most 65,535 parameters in PostgreSQL, and fewer in other stores.
    let largest = if times() > 1 { 100_000 } else { 70_000 };
    for size in [3_000, largest] {
        progress!("a batch of {size}");
        let first = Uuid::new_v4().as_u128() >> 1;
        let ids: Vec<EventId> = (first..first + size)
            .map(|id| Uuid::from_u128(id).into())
            .collect();
        let (kept, forgotten) = ids.split_at(ids.len() / 3 * 2);
        let mut failures: Vec<_> = ids.iter().map(|id| FailedAttempt::new(*id)).collect();
        failures.push(FailedAttempt::new(ids[0]));
        ok(heap.record_failures(&failures).await);
        check_eq!(counts(ok(heap.drain_exceeded(2).await)), [(ids[0], 2)]);
        // The ids that are in the heap come last.
        let mut all: Vec<EventId> = kept.iter().map(|_| EventId::new()).collect();
        all.extend(forgotten);
        ok(heap.forget(&all).await);
        check_eq!(
            counts(ok(heap.drain_exceeded(1).await)),
            each(&kept[1..], 1)
        );
    }
}

/// H11: the time of the first failure stays, that of the last moves, and both are of the heap's
/// clock.
pub async fn failure_times_are_ordered<F: HeapFixture>(fixture: F) {
    let (heap, id) = (fixture.handle().await, EventId::new());
    fail(&*heap, id, 1).await;
    fixture.elapse(Duration::from_secs(2)).await;
    fail(&*heap, id, 1).await;
    let drained = ok(heap.drain_exceeded(1).await);
    let entry = nth(&drained, 0, "drained entries");
    let between = entry.last_failed_at.duration_since(entry.first_failed_at);
    check!(
        between.is_ok_and(|time| time >= Duration::from_secs(2)),
        "expected 2 s or more from the first failure to the last, came {drained:?}"
    );

    // A first failure from a clock that was ahead never comes after the last.
    let (ahead, early) = (EventId::new(), entry.last_failed_at);
    let hour = early + Duration::from_secs(3600);
    fixture.plant(DlqEntry::new(ahead, 1, hour, hour)).await;
    fail(&*heap, ahead, 1).await;
    let drained = ok(heap.drain_exceeded(2).await);
    let entry = nth(&drained, 0, "drained entries");
    check!(
        entry.first_failed_at <= entry.last_failed_at,
        "expected a first failure before the last, came {drained:?}"
    );
}

/// H12: another heap in the same store has none of the entries.
pub async fn namespaces_are_separate<F: HeapFixture>(fixture: F) {
    let (heap, other, id) = (
        fixture.handle().await,
        fixture.neighbour().await,
        EventId::new(),
    );
    fail(&*heap, id, 2).await;
    check_eq!(ok(other.drain_exceeded(0).await), []);
    fail(&*other, id, 1).await;
    ok(other.record_success(id).await);
    check_eq!(counts(ok(heap.drain_exceeded(1).await)), [(id, 2)]);
}

/// H1 to H5, H7: random calls of one caller on several handles have the answers of the reference.
pub async fn random_scripts_match_the_model<F: HeapFixture>(fixtures: impl AsyncFn() -> F) {
    scripts_match(fixtures, false).await;
}
