//! Transactions of other programs in the same store.

use super::{BystanderFixture, append, claim, event_ids, ids, keyed, publish_all, settle};
use crate::check::{check_eq, ok};
use outbox_core::{DeadLetterFilter, Outcome};

/// S1: while another program's transaction is open, events that are committed meanwhile are claimed
/// at once, settled, quarantined and replayed.
pub async fn a_long_transaction_elsewhere_delays_no_claim<F: BystanderFixture>(fixture: F) {
    let (store, events) = (fixture.handle().await, keyed("k", 4));
    append(&fixture, &events[..1]);
    let bystander = fixture.begin_elsewhere().await;
    append(&fixture, &events[1..]);
    let first = claim(&store, 1).await;
    check_eq!(ids(&first.events), [events[0].id]);
    let dead = Outcome::Dead {
        reason: "broken".into(),
    };
    settle(&store, &first, &dead).await;
    check_eq!(publish_all(&store).await, event_ids(&events[1..]));
    let replayed = ok(store.replay(&DeadLetterFilter::all(), 10).await);
    check_eq!(publish_all(&store).await, replayed);
    check_eq!(ok(store.backlog().await).pending, 0);
    drop(bystander);
}
