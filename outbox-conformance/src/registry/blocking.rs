//! Keys that a dead letter blocks.

use super::{BlockingFixture, claim, is_about, overview, settle};
use crate::check::{check_eq, refuse};
use crate::store::{append, keyed};
use outbox_core::Outcome;

/// R6: a key that a dead letter blocks is shown with the first one, and its events are no waiting ones.
pub async fn a_blocked_key_is_shown_with_its_dead_letter<F: BlockingFixture>(fixture: F) {
    let store = fixture.blocking_handle().await;
    let events = keyed("k", 3);
    append(&fixture, &events);
    check_eq!(overview(&store).await.blocked, []);
    let reason = "no such order".into();
    settle(&store, &claim(&store, 1).await, &Outcome::Dead { reason }).await;
    let empty = store.claim(outbox_core::ClaimLimit::events(10), crate::store::LEASE);
    check_eq!(
        crate::check::ok(empty.await).events.len(),
        0,
        "events of a blocked key"
    );
    let overview = overview(&fixture.observed().await).await;
    let [blocked] = &overview.blocked[..] else {
        refuse!("expected one blocked key, came {:?}", overview.blocked)
    };
    check_eq!(blocked.ordering_key, "k");
    check_eq!(blocked.dead_letter, events[0].id);
    check_eq!(blocked.last_error.as_deref(), Some("no such order"));
    is_about("the quarantine", blocked.since, overview.now);
    check_eq!(overview.waiting, [], "waiting events");
}
