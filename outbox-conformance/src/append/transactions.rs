//! What commits appears, and what rolls back does not.

use super::Step::{Append, RollBackToSavepoint, Savepoint};
use super::{AppendFixture, End, appear, commit, transact};
use crate::check::{check_eq, ok};
use crate::store::keyed;

/// A1: events that are appended one by one and in batches appear in their order.
pub async fn committed_events_appear_in_their_order<F: AppendFixture>(fixture: F) {
    let events = keyed("order", 12);
    let batches = [&events[..3], &events[3..4], &events[4..9]];
    commit(&fixture, &batches.map(|batch| Append(batch.to_vec()))).await;
    commit(&fixture, &[Append(events[9..10].to_vec())]).await;
    commit(&fixture, &[Append(events[10..].to_vec())]).await;
    appear(&fixture, &events).await;
}

/// A2: events of a rolled-back transaction never appear, also when a later one commits.
pub async fn rolled_back_events_never_appear<F: AppendFixture>(fixture: F) {
    let events = keyed("undone", 4);
    let steps = [Append(events[..1].to_vec()), Append(events[1..].to_vec())];
    for result in transact(&fixture, &steps, End::RollBack).await {
        ok(result);
    }
    appear(&fixture, &[]).await;
    let kept = keyed("kept", 2);
    commit(&fixture, &[Append(kept.clone())]).await;
    appear(&fixture, &kept).await;
    // The ids are free again.
    commit(&fixture, &steps).await;
    appear(&fixture, &events).await;
}

/// A1, A3: a savepoint undoes what came after it, and one that is not rolled back undoes nothing.
pub async fn events_of_a_rolled_back_savepoint_never_appear<F: AppendFixture>(fixture: F) {
    let (kept, undone) = (keyed("kept", 6), keyed("undone", 3));
    let steps = [
        Append(kept[..2].to_vec()),
        Savepoint,
        Append(undone[..1].to_vec()),
        Append(undone[1..].to_vec()),
        RollBackToSavepoint,
        Append(kept[2..3].to_vec()),
        Savepoint,
        Append(kept[3..].to_vec()),
    ];
    commit(&fixture, &steps).await;
    appear(&fixture, &kept).await;
    let steps = [Savepoint, Append(undone), RollBackToSavepoint];
    commit(&fixture, &steps).await;
    appear(&fixture, &[]).await;
}

/// A6: an append of no events is a success, and no statement.
pub async fn an_append_of_no_events_sends_nothing<F: AppendFixture>(fixture: F) {
    let before = fixture.statements().await;
    commit(&fixture, &[Append(Vec::new()), Append(Vec::new())]).await;
    let statements = fixture.statements().await - before;
    check_eq!(statements, 0, "statements for no events");
    appear(&fixture, &[]).await;
}
