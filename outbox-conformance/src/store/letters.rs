//! Looking through, replaying and purging dead letters.

use super::{Store, StoreFixture, append, claim, event_ids, ids, keyed, ok, retry, settle};
use outbox_core::{DeadLetterFilter, DlqEntry, Event, EventId, Outcome, QuarantineOutcome};
use std::sync::Arc;
use std::time::SystemTime;

/// Appends events and quarantines them as permanent failures.
async fn dead<F: StoreFixture>(fixture: &F, store: &Arc<dyn Store>, count: usize) -> Vec<EventId> {
    let events: Vec<Event> = (0..count)
        .map(|_| Event::new("conformance.dead", "x"))
        .collect();
    append(fixture, &events);
    let claim = claim(store, count).await;
    settle(
        store,
        &claim,
        &Outcome::Dead {
            reason: "broken".into(),
        },
    )
    .await;
    event_ids(&events)
}

/// D1: while letters are purged and added, each that stays is listed exactly once.
pub async fn pages_have_no_gaps_and_no_repeats<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let mut expected = dead(&fixture, &store, 10).await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = ok(store.list(&DeadLetterFilter::all(), after, 3).await);
        let Some(last) = page.last() else { break };
        after = Some(last.position);
        seen.extend(page.iter().map(|letter| letter.event.id));
        if seen.len() == 3 {
            // One that was listed goes, one that was not goes, and two come.
            ok(store
                .purge(&DeadLetterFilter::ids([expected[0], expected[5]]), 10)
                .await);
            expected.extend(dead(&fixture, &store, 2).await);
            expected.remove(5);
        }
    }
    assert_eq!(seen, expected);
}

/// D2: same id, no attempts, at the end of its key; a second quarantine counts the replay.
pub async fn a_replay_keeps_the_id_and_gives_a_new_budget<F: StoreFixture>(fixture: F) {
    let (store, events) = (fixture.handle().await, keyed("k", 2));
    let mut events = events;
    events[0].idempotency_token = Some("token".to_owned());
    append(&fixture, &events);
    settle(&store, &claim(&store, 1).await, &retry(0)).await;
    let broken = Outcome::Dead {
        reason: "broken".into(),
    };
    settle(&store, &claim(&store, 1).await, &broken).await;
    let replayed = ok(store
        .replay(&DeadLetterFilter::ids([events[0].id]), 10)
        .await);
    assert_eq!(replayed, [events[0].id]);
    assert!(ok(store.find(events[0].id).await).is_none(), "in both");
    let mut order = Vec::new();
    loop {
        let claim = claim(&store, 10).await;
        if claim.events.is_empty() {
            break;
        }
        settle(&store, &claim, &broken).await;
        order.extend(claim.events);
    }
    assert_eq!(ids(&order), [events[1].id, events[0].id]);
    assert_eq!(order[1].attempts, 0);
    assert!(order[1].event == events[0], "changed by the replay");
    let letter = ok(store.find(events[0].id).await).expect("a letter");
    assert_eq!((letter.replays, letter.failure_count), (1, 1));
}

/// D3: an entry counted before the replay is of an earlier life; one with a new failure is not.
pub async fn a_stale_entry_does_not_quarantine_a_replayed_event<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let id = dead(&fixture, &store, 1).await[0];
    ok(store.replay(&DeadLetterFilter::all(), 10).await);
    let now = SystemTime::now();
    let entries = [DlqEntry::new(id, 9, now, now)];
    assert_eq!(
        ok(store.quarantine_events(&entries).await),
        [QuarantineOutcome::Missing]
    );
    settle(&store, &claim(&store, 1).await, &retry(0)).await;
    assert_eq!(
        ok(store.quarantine_events(&entries).await),
        [QuarantineOutcome::Moved]
    );
}

/// D4: oldest first, as many as asked, until none is left.
pub async fn replay_and_purge_are_bounded<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let all = dead(&fixture, &store, 7).await;
    let filter = DeadLetterFilter::all();
    assert_eq!(ok(store.replay(&filter, 3).await), all[..3]);
    assert_eq!(ok(store.purge(&filter, 3).await), all[3..6]);
    assert_eq!(ok(store.purge(&filter, 3).await), all[6..]);
    assert_eq!(ok(store.purge(&filter, 3).await), []);
    assert_eq!(ok(store.replay(&filter, 3).await), []);
    let backlog = ok(store.backlog().await);
    assert_eq!((backlog.pending, backlog.dead_letters), (3, 0));
}

/// Each condition narrows, and the groups count what the list shows.
pub async fn filters_and_statistics_agree<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    dead(&fixture, &store, 3).await;
    let odd = Event::new("conformance.odd", "x").ordering_key("100%_'k'");
    append(&fixture, std::slice::from_ref(&odd));
    let reason = Outcome::Dead {
        reason: "50%_off 'é'".into(),
    };
    settle(&store, &claim(&store, 1).await, &reason).await;
    let all = DeadLetterFilter::all;
    for (filter, count) in [
        (all(), 4),
        (all().event_type("conformance.dead"), 3),
        (all().event_type("conformance"), 0),
        (all().ordering_key("100%_'k'"), 1),
        (all().ordering_key("100"), 0),
        (all().error_contains("%_off 'é'"), 1),
        (all().error_contains("brok"), 3),
        (all().error_contains("b%n"), 0),
        (all().before(SystemTime::UNIX_EPOCH), 0),
        (DeadLetterFilter::ids([odd.id, EventId::new()]), 1),
        (
            DeadLetterFilter::ids([odd.id]).event_type("conformance.dead"),
            0,
        ),
    ] {
        let listed = ok(store.list(&filter, None, 100).await);
        assert_eq!(listed.len(), count, "{filter:?}");
        let groups = ok(store.statistics(&filter, 100).await);
        assert_eq!(
            groups.iter().map(|group| group.count).sum::<u64>(),
            count as u64
        );
    }
    let groups = ok(store.statistics(&all(), 1).await);
    assert_eq!((groups.len(), groups[0].count), (1, 3));
    assert_eq!(groups[0].event_type, "conformance.dead");
}
