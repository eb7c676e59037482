//! Every mix of outcomes of three events of one key in one settlement, and the events that may be
//! claimed next.

use super::{Store, StoreFixture, append, claim, ids, keyed, publish_all, released, retry, settle};
use crate::case::progress;
use crate::check::{check_eq, ok};
use crate::effort::times;
use outbox_core::{DeadLetterFilter, Event, EventId, Outcome, Settlement};
use std::sync::Arc;
use std::time::Duration;

/// Of claims that take all three events of a key, though a store may keep a part of a claim for
/// other keys.
const LIMIT: usize = 24;

const DELAY: Duration = Duration::from_secs(10);

/// An outcome. Where it delays the event, it does so by [`DELAY`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Published,
    Retried,
    Dead,
    Released,
    Delayed,
}

use Fate::{Dead, Delayed, Published, Released, Retried};

impl Fate {
    const ALL: [Self; 5] = [Published, Retried, Dead, Released, Delayed];

    fn outcome(self) -> Outcome {
        match self {
            Published => Outcome::Published,
            Retried => retry(DELAY.as_secs()),
            Dead => Outcome::Dead {
                reason: "broken".into(),
            },
            Released => released(),
            Delayed => Outcome::Released { delay: DELAY },
        }
    }

    fn leaves(self) -> bool {
        matches!(self, Published | Dead)
    }
}

/// The events of one key and their fates.
#[derive(Debug)]
struct Mix {
    events: Vec<Event>,
    fates: [Fate; 3],
    /// A dead event holds its key.
    holds: bool,
}

impl Mix {
    /// The ids of the events for which `is_meant` holds, by their number and fate, in their order.
    fn ids(&self, is_meant: impl Fn(usize, Fate) -> bool) -> Vec<EventId> {
        let numbered = self.events.iter().zip(self.fates).enumerate();
        numbered
            .filter(|(number, (_, fate))| is_meant(*number, *fate))
            .map(|(_, (event, _))| event.id)
            .collect()
    }

    /// The first event that holds those behind it.
    fn hold(&self) -> usize {
        let dead = self.fates.iter().position(|fate| *fate == Dead);
        dead.filter(|_| self.holds).unwrap_or(usize::MAX)
    }

    /// The events that may be claimed, once the first of them is due.
    fn free(&self) -> Vec<EventId> {
        self.ids(|number, fate| !fate.leaves() && number < self.hold())
    }

    /// The fate of the first event that remains: the others of the key wait behind it.
    fn first(&self) -> Option<Fate> {
        self.fates.into_iter().find(|fate| !fate.leaves())
    }

    /// Settles the events and checks which of them may be claimed at once, after the delay, and in
    /// the end.
    async fn check<F: StoreFixture>(&self, fixture: &F, store: &Arc<dyn Store>) {
        let claimed = claim(store, LIMIT).await;
        check_eq!(
            ids(&claimed.events),
            self.ids(|_, _| true),
            "claimed events"
        );
        let settlements: Vec<Settlement> = ids(&claimed.events)
            .into_iter()
            .zip(self.fates)
            .map(|(id, fate)| Settlement::new(id, fate.outcome()))
            .collect();
        ok(store.settle(claimed.token, &settlements).await);
        let at_once = if self.first() == Some(Released) {
            self.free()
        } else {
            Vec::new()
        };
        check_eq!(
            publish_all(store).await,
            at_once,
            "events claimed at once after {self:?}"
        );
        fixture.elapse(DELAY).await;
        if at_once.is_empty() && !self.free().is_empty() {
            let first = claim(store, 1).await;
            let attempts: Vec<u32> = first.events.iter().map(|event| event.attempts).collect();
            let charged = u32::from(self.first() == Some(Retried));
            check_eq!(attempts, [charged], "attempts after {self:?}");
            settle(store, &first, &released()).await;
            check_eq!(
                publish_all(store).await,
                self.free(),
                "events claimed after the delay of {self:?}"
            );
        }
        self.check_the_end(store).await;
    }

    /// The events that a dead event blocked come after it when it is replayed.
    async fn check_the_end(&self, store: &Arc<dyn Store>) {
        let all = DeadLetterFilter::all();
        let held = self.ids(|number, fate| !fate.leaves() && number > self.hold());
        let pending = ok(store.backlog().await).pending;
        check_eq!(pending, held.len() as u64, "blocked events after {self:?}");
        if self.holds {
            ok(store.replay(&all, 10).await);
            let rest =
                self.ids(|number, fate| fate == Dead || !fate.leaves() && number > self.hold());
            check_eq!(
                publish_all(store).await,
                rest,
                "events after a replay of {self:?}"
            );
        }
        ok(store.purge(&all, 10).await);
        check_eq!(
            publish_all(store).await,
            [],
            "events after a purge of {self:?}"
        );
    }
}

/// Checks every mix on a store. A long run checks each from the log and from the events that wait; by
/// default a mix is checked from one of them, and a store that blocks keys checks it from the other.
pub(super) async fn check_all<F: StoreFixture>(fixture: &F, store: &Arc<dyn Store>) {
    let holds = store.blocks_key_on_dead_letter();
    let mut waits = holds;
    for first in Fate::ALL {
        for second in Fate::ALL {
            for third in Fate::ALL {
                waits = !waits;
                let both = [waits, !waits];
                let chosen = if times() > 1 { &both[..] } else { &both[..1] };
                for waits in chosen {
                    let mix = Mix {
                        events: keyed("key", 3),
                        fates: [first, second, third],
                        holds,
                    };
                    append(fixture, &mix.events);
                    if *waits {
                        settle(store, &claim(store, LIMIT).await, &released()).await;
                    }
                    mix.check(fixture, store).await;
                    progress!("checked {:?}", mix.fates);
                }
            }
        }
    }
}
