//! Cut connections, a killed server and lost workers, under load.

mod support;

use outbox_conformance::store::StoreFixture;
use outbox_conformance::{Wire, seeds};
use outbox_core::{
    Claim, ClaimLimit, DeadLetterFilter, DeadLetters, DlqEntry, ErrorKind, Event, EventId,
    OutboxError, OutboxStorage, Outcome,
};
use outbox_store_postgres::PostgresStore;
use outbox_store_postgres::sqlx::{Connection, Executor};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};
use support::load::{BATCH, Recorder, Workers, committed, prepare, start_writers_until};
use support::{Own, each};
use test_servers::{Kind, Server, search_path};
use tokio::sync::Barrier;
use tokio::task::JoinHandle;

const LEASE: Duration = Duration::from_secs(30);
const WORKERS: usize = 3;

/// Ends about half of the connections.
const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()
                     AND random() < 0.5";

/// Starts writers that write until the number of rounds is made smaller.
fn start(own: &Arc<Own>) -> (Arc<AtomicU64>, Vec<JoinHandle<()>>) {
    let rounds = Arc::new(AtomicU64::new(u64::MAX));
    let writers = start_writers_until(own, &rounds);
    (rounds, writers)
}

/// Returns after `more` events were published.
async fn under_load(recorder: &Recorder, more: usize) {
    let before = recorder.count();
    while recorder.count() < before + more {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_are_cut_under_load_lose_nothing_and_keep_the_order() {
    let cuts = seeds(10).count();
    let own = Arc::new(Own::in_schema("outbox"));
    prepare(&own).await;
    let recorder = Arc::new(Recorder::default());
    let workers = Workers::start(&own, &recorder, WORKERS).await;
    let mut knife = own.connect().await;
    let (rounds, writers) = start(&own);
    for _ in 0..cuts {
        under_load(&recorder, 40).await;
        knife.execute(CUT).await.expect("cut");
    }
    rounds.store(0, Relaxed);
    for writer in writers {
        writer.await.expect("written");
    }
    knife.close().await.expect("closed");
    own.drained().await;
    workers.stop().await;
    let repeats = recorder.repeats(&committed(&own).await);
    println!("{cuts} cuts, {repeats} events came again");
    // A cut repeats the open claim of each worker, and once more as single events.
    assert!(repeats <= cuts * WORKERS * BATCH * 2, "{repeats}");
    assert_eq!(
        own.open().await.backlog().await.expect("read").dead_letters,
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_killed_under_load_loses_nothing_and_keeps_the_order() {
    let kills = seeds(2).count();
    let mut server = Server::start(Kind::Postgres, &search_path()).expect("a server");
    let own = Arc::new(Own::on(server.url(), "outbox"));
    prepare(&own).await;
    let recorder = Arc::new(Recorder::default());
    let workers = Workers::start(&own, &recorder, WORKERS).await;
    let (rounds, writers) = start(&own);
    for _ in 0..kills {
        under_load(&recorder, 100).await;
        server = tokio::task::spawn_blocking(move || {
            server.kill().expect("killed");
            server.restart().expect("started again");
            server
        })
        .await
        .expect("a server");
    }
    rounds.store(0, Relaxed);
    for writer in writers {
        writer.await.expect("written");
    }
    own.drained().await;
    workers.stop().await;
    let repeats = recorder.repeats(&committed(&own).await);
    println!("{kills} kills, {repeats} events came again");
    assert_eq!(
        own.open().await.backlog().await.expect("read").dead_letters,
        0
    );
}

fn kind<T>(result: Result<T, OutboxError>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[tokio::test]
async fn calls_on_a_silent_connection_are_unavailable_and_the_handle_works_afterwards() {
    let own = Own::in_schema("outbox");
    let events: Vec<Event> = (0..3).map(|_| Event::new("fault", "x")).collect();
    own.append(&events).await;
    let config = own.wired_config().call_timeout(Duration::from_millis(500));
    let store = PostgresStore::open(config).await.expect("opened");
    let first = claim(&store, 1).await;
    let published = each(&first, &Outcome::Published);
    let (all, now) = (DeadLetterFilter::all(), SystemTime::UNIX_EPOCH);
    let entry = [DlqEntry::new(events[2].id, 3, now, now)];
    own.its_wire().go_silent();
    let kinds = [
        kind(store.claim(ClaimLimit::events(1), LEASE).await),
        kind(store.settle(first.token, &published).await),
        kind(store.quarantine_events(&entry).await),
        kind(store.list(&all, None, 10).await),
        kind(store.find(events[2].id).await),
        kind(store.statistics(&all, 10).await),
        kind(store.replay(&all, 10).await),
        kind(store.purge(&all, 10).await),
        kind(store.backlog().await),
        kind(store.clean_up(10).await),
    ];
    assert_eq!(kinds, [Some(ErrorKind::Unavailable); 10]);
    assert!(!own.its_wire().repair(), "nothing was cut");
    let settled = store.settle(first.token, &published).await;
    settled.expect("settled");
    assert_eq!(claim(&store, 10).await.events.len(), 2);
}

async fn claim(store: &PostgresStore, limit: usize) -> Claim {
    store
        .claim(ClaimLimit::events(limit), LEASE)
        .await
        .expect("claimed")
}

fn ids(claim: &Claim) -> BTreeSet<EventId> {
    claim.events.iter().map(|one| one.event.id).collect()
}

#[tokio::test]
async fn a_claim_takes_no_more_of_its_lanes_than_its_events() {
    let own = Own::in_schema("outbox");
    let store = own.open().await;
    let events: Vec<Event> = (0..64).map(|_| Event::new("many", "")).collect();
    own.append(&events).await;
    let lost = claim(&store, 10).await;
    let backlog = store.backlog().await.expect("read");
    assert_eq!((backlog.pending, backlog.in_flight), (64, 10));
    own.elapse(2 * LEASE).await;
    // The events of the lost claim come again, each alone. The others come in claims of any size.
    let lost = ids(&lost);
    let (mut alone, mut rest) = (BTreeSet::new(), 0);
    loop {
        let claim = claim(&store, 60).await;
        let claimed = ids(&claim);
        if claimed.is_empty() {
            break;
        }
        if claimed.is_disjoint(&lost) {
            rest += claimed.len();
        } else {
            assert_eq!(claimed.len(), 1, "a suspect event has company");
            alone.extend(claimed);
        }
        let published = each(&claim, &Outcome::Published);
        store
            .settle(claim.token, &published)
            .await
            .expect("settled");
    }
    assert_eq!((alone, rest), (lost, 54));
}

/// A claim of many lanes whose lease has ended: its worker settles while another takes it over.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_late_settlement_and_a_takeover_never_both_get_an_event() {
    const ROUNDS: u64 = 40;
    let own = Own::in_schema("outbox");
    let (late, other) = (own.open().await, own.open().await);
    let (mut settled, mut lost) = (0, 0);
    for round in 0..ROUNDS {
        let events: Vec<Event> = (0..6).map(|_| Event::new("late", "")).collect();
        own.append(&events).await;
        let held = claim(&late, 10).await;
        assert_eq!(held.events.len(), 6, "in round {round}");
        own.elapse(2 * LEASE).await;
        let (barrier, outcome) = (Barrier::new(2), each(&held, &Outcome::Published));
        let settle = async {
            barrier.wait().await;
            // The takeover needs more statements. With the pauses, either may be first.
            tokio::time::sleep(Duration::from_millis(round % 2 * round)).await;
            late.settle(held.token, &outcome).await
        };
        let take_over = async {
            barrier.wait().await;
            claim(&other, 10).await
        };
        let (settlement, mut taken) = tokio::join!(settle, take_over);
        let mut again = BTreeSet::new();
        while !taken.events.is_empty() {
            again.extend(ids(&taken));
            let published = each(&taken, &Outcome::Published);
            other
                .settle(taken.token, &published)
                .await
                .expect("settled");
            taken = claim(&other, 10).await;
        }
        match settlement {
            Ok(()) => {
                settled += 1;
                assert_eq!(again, BTreeSet::new());
            }
            Err(error) => {
                lost += 1;
                assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
                assert_eq!(again, ids(&held));
            }
        }
    }
    println!("{settled} settled, {lost} taken over");
    assert!(settled > 0 && lost > 0, "one was always first");
}
