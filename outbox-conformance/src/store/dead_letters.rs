//! Listing, replaying and purging dead letters.

use super::{
    Store, StoreFixture, append, claim, event_ids, found, ids, keyed, publish_all, retry, settle,
    sorted,
};
use crate::check::{check, check_eq, ok};
use outbox_core::{
    ClaimedEvent, DeadLetter, DeadLetterFilter, DeadLetterGroup, DlqEntry, Event, EventId, Outcome,
    QuarantineOutcome, Settlement,
};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Appends events and quarantines them as permanent failures, with their payloads as the reasons.
async fn bury<F: StoreFixture>(fixture: &F, store: &Arc<dyn Store>, events: &[Event]) {
    append(fixture, events);
    let mut left = events.len();
    while left > 0 {
        let claim = claim(store, left).await;
        let dead = |claimed: &ClaimedEvent| {
            let reason = &*String::from_utf8_lossy(&claimed.event.payload);
            let reason = reason.into();
            Settlement::new(claimed.event.id, Outcome::Dead { reason })
        };
        let settlements: Vec<_> = claim.events.iter().map(dead).collect();
        ok(store.settle(claim.token, &settlements).await);
        left -= claim.events.len();
    }
}

async fn dead<F: StoreFixture>(fixture: &F, store: &Arc<dyn Store>, count: usize) -> Vec<EventId> {
    let events: Vec<Event> = (0..count)
        .map(|_| Event::new("conformance.dead", "broken"))
        .collect();
    bury(fixture, store, &events).await;
    event_ids(&events)
}

async fn listed(store: &Arc<dyn Store>, filter: &DeadLetterFilter) -> Vec<EventId> {
    let dead_letters = ok(store.list(filter, None, 100).await);
    sorted(
        dead_letters
            .iter()
            .map(|dead_letter| dead_letter.id)
            .collect(),
    )
}

/// D1: while dead letters are purged and added, each that stays is listed exactly once.
pub async fn pages_have_no_gaps_and_no_repeats<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let mut expected = dead(&fixture, &store, 10).await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = ok(store.list(&DeadLetterFilter::all(), after, 3).await);
        let Some(last) = page.last() else { break };
        after = Some(last.position);
        seen.extend(page.iter().map(|dead_letter| dead_letter.id));
        if seen.len() == 3 {
            // One that was listed goes, one that was not goes, and two come.
            ok(store
                .purge(&DeadLetterFilter::all().ids([expected[0], expected[5]]), 10)
                .await);
            expected.extend(dead(&fixture, &store, 2).await);
            expected.remove(5);
        }
        check!(
            seen.len() <= expected.len(),
            "expected each dead letter once, came {seen:?}"
        );
    }
    check_eq!(seen, expected);
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
        .replay(&DeadLetterFilter::all().ids([events[0].id]), 10)
        .await);
    check_eq!(replayed, [events[0].id]);
    check_eq!(
        ok(store.find(events[0].id).await),
        None,
        "the dead letter after its replay"
    );
    let mut order = Vec::new();
    loop {
        let claim = claim(&store, 10).await;
        if claim.events.is_empty() {
            break;
        }
        settle(&store, &claim, &broken).await;
        order.extend(claim.events);
    }
    check_eq!(ids(&order), [events[1].id, events[0].id]);
    check_eq!(order[1].attempts, 0);
    check_eq!(order[1].event, events[0], "the replayed event");
    let (dead_letter, _) = found(&store, events[0].id).await;
    check_eq!((dead_letter.replays, dead_letter.failure_count), (1, 1));
}

/// D3: an entry that was counted before a replay does not quarantine the event until the event
/// fails again.
pub async fn a_stale_entry_does_not_quarantine_a_replayed_event<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let id = dead(&fixture, &store, 1).await[0];
    ok(store.replay(&DeadLetterFilter::all(), 10).await);
    let now = SystemTime::now();
    let entries = [DlqEntry::new(id, 9, now, now)];
    check_eq!(
        ok(store.quarantine_events(&entries).await),
        [QuarantineOutcome::Missing]
    );
    check_eq!(
        ok(store.find(id).await),
        None,
        "the dead letter of a replayed event"
    );
    settle(&store, &claim(&store, 1).await, &retry(0)).await;
    check_eq!(
        ok(store.quarantine_events(&entries).await),
        [QuarantineOutcome::Moved]
    );
}

/// D4: oldest first, as many as asked, until none is left.
pub async fn replay_and_purge_are_bounded<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let all = dead(&fixture, &store, 9).await;
    let filter = DeadLetterFilter::all();
    check_eq!(ok(store.replay(&filter, 2).await), all[..2]);
    check_eq!(ok(store.replay(&filter, 2).await), all[2..4]);
    check_eq!(ok(store.purge(&filter, 2).await), all[4..6]);
    check_eq!(ok(store.purge(&filter, 2).await), all[6..8]);
    check_eq!(ok(store.purge(&filter, 2).await), all[8..]);
    check_eq!(ok(store.purge(&filter, 2).await), []);
    check_eq!(ok(store.replay(&filter, 2).await), []);
    let backlog = ok(store.backlog().await);
    check_eq!((backlog.pending, backlog.dead_letters), (4, 0));
    check_eq!(sorted(publish_all(&store).await), sorted(all[..4].to_vec()));
}

/// The groups of dead letters that a list shows, oldest first.
fn grouped(dead_letters: &[DeadLetter]) -> Vec<DeadLetterGroup> {
    let mut groups: Vec<DeadLetterGroup> = Vec::new();
    for dead_letter in dead_letters {
        let (kind, error) = (&dead_letter.event_type, &dead_letter.last_error);
        let at = dead_letter.quarantined_at;
        let same =
            |group: &&mut DeadLetterGroup| group.event_type == *kind && group.last_error == *error;
        if let Some(group) = groups.iter_mut().find(same) {
            group.count += 1;
            group.newest = at;
        } else {
            groups.push(DeadLetterGroup::new(kind.clone(), error.clone(), 1, at, at));
        }
    }
    groups
}

/// Checks that the statistics agree with the list, and returns the number of dead letters.
async fn counted(store: &Arc<dyn Store>, filter: &DeadLetterFilter) -> usize {
    let dead_letters = ok(store.list(filter, None, 100).await);
    let mut expected = grouped(&dead_letters);
    let mut groups = ok(store.statistics(filter, 100).await);
    let name = |group: &DeadLetterGroup| {
        let error = group.last_error.as_deref();
        (group.event_type.clone(), error.map(str::to_owned))
    };
    expected.sort_by_key(name);
    groups.sort_by_key(name);
    check_eq!(groups, expected, "groups of {filter:?}");
    dead_letters.len()
}

/// D6: each text of a filter is taken literally, and the groups count the listed dead letters.
pub async fn filters_and_statistics_agree<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    dead(&fixture, &store, 3).await;
    let odd = Event::new("conformance.odd", "50%_off 'é'").ordering_key("100%_'k'");
    bury(&fixture, &store, std::slice::from_ref(&odd)).await;
    let all = DeadLetterFilter::all;
    for (filter, count) in [
        (all(), 4),
        (all().event_type("conformance.dead"), 3),
        (all().event_type("conformance"), 0),
        (all().ordering_key("100%_'k'"), 1),
        (all().ordering_key("100"), 0),
        (all().error_contains("%_off 'é'"), 1),
        (all().error_contains("brok"), 3),
        (all().error_contains("BROK"), 0),
        (all().error_contains("b%n"), 0),
        (all().before(SystemTime::UNIX_EPOCH), 0),
        (DeadLetterFilter::all().ids([odd.id, EventId::new()]), 1),
        (DeadLetterFilter::all().ids([]), 0),
    ] {
        check_eq!(
            counted(&store, &filter).await,
            count,
            "dead letters of {filter:?}"
        );
    }
    let groups = ok(store.statistics(&all(), 1).await);
    let counts: Vec<u64> = groups.iter().map(|group| group.count).collect();
    check_eq!(counts, [3], "the largest group");
    check_eq!(groups[0].event_type, "conformance.dead");
}

/// Which conditions of a filter are set: ids, type, key, error, time.
type Conditions = [bool; 5];

fn all_conditions() -> impl Iterator<Item = Conditions> {
    (0..32).map(|bits| [1, 2, 4, 8, 16].map(|bit| bits & bit != 0))
}

/// Dead letters, and a filter of five conditions: the first dead letter meets all, each other one
/// all but one.
struct NearMisses {
    events: [Event; 6],
    filter: DeadLetterFilter,
}

impl NearMisses {
    async fn bury<F: StoreFixture>(fixture: &F, store: &Arc<dyn Store>) -> Self {
        let events = [
            ["right", "right", "right"],
            ["right", "right", "right"],
            ["wrong", "right", "right"],
            ["right", "wrong", "right"],
            ["right", "right", "wrong"],
            ["right", "right", "right"],
        ];
        let events = events.map(|[kind, key, error]| Event::new(kind, error).ordering_key(key));
        bury(fixture, store, &events[..5]).await;
        fixture.elapse(Duration::from_secs(60)).await;
        bury(fixture, store, &events[5..]).await;
        let (last, _) = found(store, events[5].id).await;
        let others = [0, 2, 3, 4, 5].map(|n: usize| events[n].id);
        let filter = DeadLetterFilter::all()
            .ids(others)
            .event_type("right")
            .ordering_key("right")
            .error_contains("ight")
            .before(last.quarantined_at - Duration::from_secs(30));
        Self { events, filter }
    }

    /// The filter with these conditions alone, the dead letters that meet them, and those that do
    /// not.
    fn asked(&self, conditions: Conditions) -> (DeadLetterFilter, Vec<EventId>, Vec<EventId>) {
        let [ids, event_type, ordering_key, error, before] = conditions;
        let mut filter = DeadLetterFilter::all();
        filter.ids = self.filter.ids.clone().filter(|_| ids);
        filter.event_type = self.filter.event_type.clone().filter(|_| event_type);
        filter.ordering_key = self.filter.ordering_key.clone().filter(|_| ordering_key);
        filter.error_contains = self.filter.error_contains.clone().filter(|_| error);
        filter.before = self.filter.before.filter(|_| before);
        let (mut met, mut missed) = (vec![self.events[0].id], Vec::new());
        for (event, asked) in self.events[1..].iter().zip(conditions) {
            if asked { &mut missed } else { &mut met }.push(event.id);
        }
        (filter, sorted(met), sorted(missed))
    }
}

/// D6: with any of the conditions set, a list has exactly the dead letters that meet all of these,
/// and so have the statistics.
pub async fn each_condition_of_a_filter_narrows<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    let dead_letters = NearMisses::bury(&fixture, &store).await;
    for conditions in all_conditions() {
        let (filter, met, _) = dead_letters.asked(conditions);
        check_eq!(
            listed(&store, &filter).await,
            met,
            "dead letters of {filter:?}"
        );
        check_eq!(
            counted(&store, &filter).await,
            met.len(),
            "dead letters of {filter:?}"
        );
    }
}

/// D6: a replay and a purge take the dead letters that a list with the same filter has, and leave
/// all others: by each condition alone, and by all of them.
pub async fn replay_and_purge_take_what_a_filter_lists<F: StoreFixture>(fixture: F) {
    let (store, all) = (fixture.handle().await, DeadLetterFilter::all());
    for conditions in all_conditions() {
        let count = conditions.iter().filter(|asked| **asked).count();
        if ![1, conditions.len()].contains(&count) {
            continue;
        }
        for purges in [false, true] {
            let dead_letters = NearMisses::bury(&fixture, &store).await;
            let (filter, met, missed) = dead_letters.asked(conditions);
            let taken = if purges {
                store.purge(&filter, 100).await
            } else {
                store.replay(&filter, 100).await
            };
            check_eq!(
                sorted(ok(taken)),
                met,
                "dead letters taken (a purge: {purges}) by {filter:?}"
            );
            check_eq!(
                listed(&store, &all).await,
                missed,
                "dead letters left (a purge: {purges}) by {filter:?}"
            );
            let back = if purges { vec![] } else { met };
            check_eq!(sorted(publish_all(&store).await), back);
            check_eq!(sorted(ok(store.purge(&all, 100).await)), missed);
        }
    }
}
