//! Bounds in bytes.

use super::{LEASE, Store, StoreFixture, append, event_ids, ids, keyed, retry, settle, sorted};
use crate::check::{check, check_eq, ok};
use outbox_core::{Claim, ClaimLimit, DeadLetterFilter, Event, EventId, Outcome, Settlement};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The budget of the cases. Some of their events are larger.
const BYTES: usize = 1000;

fn event(bytes: usize) -> Event {
    let made = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    Event::new("conformance", vec![b'x'; bytes]).created_at(made)
}

async fn claim(store: &Arc<dyn Store>, events: usize) -> Claim {
    let limit = ClaimLimit::events(events).bytes(BYTES);
    ok(store.claim(limit, LEASE).await)
}

/// Claims until each of `count` events came once, and gives them the outcome.
async fn claim_all(store: &Arc<dyn Store>, count: usize, outcome: &Outcome) -> Vec<EventId> {
    let mut seen: Vec<EventId> = Vec::new();
    while seen.len() < count {
        let claim = claim(store, 100).await;
        check!(
            !claim.events.is_empty(),
            "expected {count} events in claims, came {}",
            seen.len()
        );
        let bytes: usize = claim.events.iter().map(|one| one.event.size()).sum();
        let fits = bytes <= BYTES || claim.events.len() == 1;
        check!(
            fits,
            "expected one event or at most {BYTES} bytes, came {} events of {bytes} bytes",
            claim.events.len()
        );
        settle(store, &claim, outcome).await;
        seen.extend(ids(&claim.events));
    }
    seen
}

/// S11: claims from the log and of retries, with payloads and headers, with one key and without. An
/// event that is larger than the budget is alone.
pub async fn a_claim_is_within_its_bytes<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let sizes = [400, 400, 400, 2500, 10, 600, 10];
    let mut lone = sizes.map(event).to_vec();
    lone[5] = event(0).header("header", "x".repeat(700));
    let of_a_key: Vec<Event> = sizes.map(|size| event(size).ordering_key("key")).to_vec();
    for (events, in_order) in [(lone, false), (of_a_key, true)] {
        append(&fixture, &events);
        let expected = event_ids(&events);
        let ordered = |ids| if in_order { ids } else { sorted(ids) };
        // Of a key all wait once the first does.
        let (count, all) = if in_order { (1, 2) } else { (7, 7) };
        let retried = claim_all(&store, count, &retry(60)).await;
        check_eq!(retried.len(), all, "events within the budget");
        fixture.elapse(Duration::from_secs(60)).await;
        let published = claim_all(&store, 7, &Outcome::Published).await;
        check_eq!(ordered(published), ordered(expected));
        check_eq!(ok(store.backlog().await).pending, 0);
    }
}

/// S6: with ever more retries that fill a claim each, a fresh event is claimed too, and with ever
/// more fresh events a retry is.
pub async fn neither_starves_where_each_event_fills_a_claim<F: StoreFixture>(fixture: F) {
    let large = || event(900);
    for fresh_come in [false, true] {
        let store = fixture.handle().await;
        let old: Vec<Event> = (0..if fresh_come { 1 } else { 5 })
            .map(|_| large())
            .collect();
        append(&fixture, &old);
        claim_all(&store, old.len(), &retry(0)).await;
        // The payload tells which it is.
        let fresh = Event::new("conformance", "fresh").header("size", "x".repeat(900));
        let mut seen = HashSet::new();
        for round in 0..8 {
            if fresh_come {
                append(&fixture, &[large(), large()]);
            } else if round == 0 {
                append(&fixture, std::slice::from_ref(&fresh));
            }
            let claim = claim(&store, 4).await;
            seen.extend(ids(&claim.events));
            let is_old = |id| old.iter().any(|event| event.id == id);
            let outcome = |id| {
                if is_old(id) {
                    retry(0)
                } else {
                    Outcome::Published
                }
            };
            let settlement = |id| Settlement::new(id, outcome(id));
            let settlements: Vec<_> = ids(&claim.events).into_iter().map(settlement).collect();
            ok(store.settle(claim.token, &settlements).await);
        }
        let starved = if fresh_come { old[0].id } else { fresh.id };
        check!(
            seen.contains(&starved),
            "expected the event in 8 claims, came others only (fresh events are appended: {fresh_come})"
        );
        super::publish_all(&store).await;
    }
}

/// D7: Each page of an export is within its bytes or has one dead letter, and all of them come,
/// with their events. A list describes them and their sizes.
pub async fn an_export_is_bounded_in_bytes<F: StoreFixture>(fixture: F) {
    let (store, all) = (fixture.handle().await, DeadLetterFilter::all());
    let sizes = [400, 400, 400, 2500, 10, 600, 10];
    let events = sizes.map(|size| event(size).ordering_key("key").header("a", "b"));
    append(&fixture, &events);
    let dead = Outcome::Dead {
        reason: "broken".into(),
    };
    claim_all(&store, events.len(), &dead).await;
    let listed = ok(store.list(&all, None, 100).await);
    let shown: Vec<usize> = listed
        .iter()
        .filter_map(|dead_letter| usize::try_from(dead_letter.payload_size).ok())
        .collect();
    check_eq!(shown, sizes, "the sizes in the list");
    let (mut exported, mut after) = (Vec::new(), None);
    loop {
        let page = ok(store.export(&all, after, 4, BYTES).await);
        let Some((last, _)) = page.last() else { break };
        after = Some(last.position);
        let bytes: usize = page.iter().map(|(_, event)| event.payload.len()).sum();
        let count = page.len();
        check!(
            count <= 4,
            "expected up to 4 dead letters on a page, came {count}"
        );
        check!(
            bytes <= BYTES || count == 1,
            "expected one dead letter or at most {BYTES} bytes, came {count} with {bytes} bytes"
        );
        exported.extend(page);
    }
    let (dead_letters, whole): (Vec<_>, Vec<Event>) = exported.into_iter().unzip();
    check_eq!(dead_letters, listed, "the exported dead letters");
    check_eq!(whole, events, "the exported events");
    let keyed = keyed("other", 1);
    append(&fixture, &keyed);
    check_eq!(super::publish_all(&store).await, event_ids(&keyed));
}
