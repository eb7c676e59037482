//! Relays of an older version and of this one, on one store at the same time. `.ci/upgrade` builds the older
//! command, and runs these tests.
#![cfg(unix)]

mod endpoint;
#[path = "../kill_nine/producer.rs"]
mod producer;
mod shop;

use endpoint::POISON;
use outbox_core::{Event, EventId};
use producer::{Append, produce, to_postgres, to_sqlite};
use shop::{Relay, Shop, Version};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use test_servers::postgres::Database;

/// In each round a relay of each version ends.
const ROUNDS: usize = 5;

/// More poison than that and the new relay gets none of it.
const DOSES: usize = 500;

#[test]
#[ignore = "needs a binary of an older version: run .ci/upgrade"]
fn a_rolling_upgrade_on_sqlite_loses_nothing_and_keeps_the_order() {
    let shop = Shop::new("sqlite:shop.db".to_owned());
    let path = shop.folder().join("shop.db");
    upgrade(&shop, || to_sqlite(&path));
}

#[test]
#[ignore = "needs a binary of an older version: run .ci/upgrade"]
fn a_rolling_upgrade_on_postgresql_loses_nothing_and_keeps_the_order() {
    let database = producer::runtime().block_on(Database::create());
    let url = database.url();
    let shop = Shop::new(url.clone());
    upgrade(&shop, || to_postgres(&url));
}

fn upgrade(shop: &Shop, append: impl Fn() -> Append) {
    shop.done(Version::Old, &["migrate"]);
    let load = Load::start(append());
    let mut poison = Poison::new(append());
    let old = shop.relay(Version::Old);
    let of_old = poison.refused_by(shop, Version::Old);

    shop.done(Version::New, &["migrate"]);
    let new = shop.relay(Version::New);
    let of_new = poison.refused_by(shop, Version::New);
    shop.lists(&poison.ids);
    shop.endpoint.refuse_poison(false);

    let new = rounds(shop, old, new, of_new);
    // Only the new relay is left.
    shop.replays(of_old, Version::New);
    for id in poison
        .ids
        .iter()
        .filter(|id| ![of_old, of_new].contains(id))
    {
        shop.replays(*id, Version::New);
    }
    let mut committed = load.stop();
    committed.extend(&poison.ids);
    new.terminate();
    shop.done(
        Version::New,
        &["relay", "--drain", "--to", &shop.endpoint.url("drain")],
    );
    shop.assert_delivered(&committed);
}

/// In each round an old relay and a new one end, in turn with SIGTERM and with SIGKILL, and others take over. The
/// old ones start after the migration, as after a rollback. Returns the new relay, which is the last one.
fn rounds(shop: &Shop, mut old: Relay, mut new: Relay, dead_letter: EventId) -> Relay {
    for round in 0..ROUNDS {
        let kills_new = round.is_multiple_of(2);
        let start = shop.endpoint.mark();
        for relay in [&old, &new] {
            shop.publishes(relay, start);
        }
        let mark = shop.endpoint.mark();
        shop.end(old, !kills_new);
        shop.publishes(&new, mark);
        old = shop.relay(Version::Old);
        shop.publishes(&old, mark);
        shop.end(new, kills_new);
        // Only an old relay is left.
        if round == 0 {
            shop.replays(dead_letter, Version::Old);
        }
        shop.publishes(&old, shop.endpoint.mark());
        new = shop.relay(Version::New);
    }
    shop.publishes(&new, shop.endpoint.mark());
    old.terminate();
    shop.publishes(&new, shop.endpoint.mark());
    new
}

/// A producer that appends until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    producer: JoinHandle<HashSet<EventId>>,
}

impl Load {
    fn start(append: Append) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let producer = {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || produce(append, &stop))
        };
        Self { stop, producer }
    }

    /// The events that were committed.
    fn stop(self) -> HashSet<EventId> {
        self.stop.store(true, Ordering::SeqCst);
        self.producer.join().expect("the producer")
    }
}

/// Events that the destination refuses.
struct Poison {
    append: Append,
    ids: Vec<EventId>,
}

impl Poison {
    fn new(append: Append) -> Self {
        let ids = Vec::new();
        Self { append, ids }
    }

    /// Appends poison until a relay of the version has got some, and returns the id of that.
    fn refused_by(&mut self, shop: &Shop, version: Version) -> EventId {
        shop.endpoint.refuse_poison(true);
        for _ in 0..DOSES {
            let mark = shop.endpoint.mark();
            let event = Event::new(POISON, "{}");
            (self.append)(std::slice::from_ref(&event), true);
            self.ids.push(event.id);
            let refused = shop
                .endpoint
                .wait("a refusal", mark, |arrival| arrival.id == event.id);
            assert!(!refused.accepted);
            if version.has(&refused.relay) {
                return event.id;
            }
        }
        panic!("no relay of {version:?} got one of {DOSES} events");
    }
}
