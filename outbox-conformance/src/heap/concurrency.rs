//! Random calls of several clients at once, and the check of their history.

use super::HeapFixture;
use super::call::{Answer, Call};
use super::history::{History, Recording};
use super::reference::HOUR;
use super::script::calls;
use crate::case::progress;
use crate::check::{joined, ok, refuse};
use crate::effort::{again, choose, runner, seeds, times};
use outbox_core::{DlqHeap, EventId};
use proptest::collection::vec;
use proptest::prelude::{BoxedStrategy, Strategy, any};
use proptest::test_runner::TestRunner;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Barrier;
use tokio::task::yield_now;

const HISTORIES: u64 = 4;
const ROUNDS: usize = 10;
/// The rounds of one history in eight when a run is longer than by default: 3,200 calls of 8
/// clients.
const MANY_ROUNDS: usize = 100;
/// Few calls of a client between two barriers, so that the report of a bad round is short.
const CALLS: usize = 4;
const CLIENTS: usize = 8;

/// Records histories of 4 clients and of 8, and checks each.
pub(crate) async fn histories_are_linear<F: HeapFixture>(fixture: &F, leases: bool) {
    let mut handles = Vec::new();
    for _ in 0..CLIENTS {
        handles.push(fixture.handle().await);
    }
    for (number, seed) in seeds(HISTORIES).enumerate() {
        let clients = if seed.is_multiple_of(2) { CLIENTS } else { 4 };
        let is_long = times() > 1 && seed.is_multiple_of(8);
        let rounds = if is_long { MANY_ROUNDS } else { ROUNDS };
        let clients = &handles[..clients];
        let history = record(fixture, clients, (seed, rounds), leases).await;
        let begun = Instant::now();
        if let Err(violation) = history.check() {
            refuse!(
                "expected a history that some order explains, came {violation}\n({})",
                again(seed)
            );
        }
        let (calls, time) = (history.len(), begun.elapsed());
        progress!("{} histories checked", number + 1);
        println!("seed {seed}: a history of {calls} calls, checked in {time:.0?}");
    }
}

async fn record<F: HeapFixture>(
    fixture: &F,
    handles: &[Arc<dyn DlqHeap>],
    (seed, rounds): (u64, usize),
    leases: bool,
) -> History {
    let (history, mut choices) = (History::default(), runner(seed));
    let clients = handles.iter().map(|heap| history.client(Arc::clone(heap)));
    let clients: Vec<Arc<Recording>> = clients.map(Arc::new).collect();
    let turns = turns(&[(); 3].map(|()| EventId::new()), leases);
    for _ in 0..rounds {
        round(&clients, &turns, &mut choices).await;
        if leases && choose(&(0..3), &mut choices) == 0 {
            fixture.elapse(HOUR).await;
            history.elapsed(HOUR);
        }
    }
    // All leases have run out, so the drain returns all entries that are left.
    fixture.elapse(3 * HOUR).await;
    history.elapsed(3 * HOUR);
    let last = Call::Drain { threshold: 0 };
    ok(last.run(&*clients[0]).await);
    history
}

/// A call, and whether what it leased is forgotten at once.
type Turn = (Call, bool);

fn turns(ids: &[EventId], leases: bool) -> BoxedStrategy<Vec<Turn>> {
    let call = calls(ids, leases, vec![1, 2, 3]).prop_map(one_each);
    vec((call, any::<bool>()), CALLS).boxed()
}

/// An id that is in a batch twice may be counted in two steps, as in the provided loop.
fn one_each(mut call: Call) -> Call {
    if let Call::RecordFailures(failures) = &mut call {
        let mut seen = HashSet::new();
        failures.retain(|failure| seen.insert(failure.id));
    }
    call
}

async fn round(
    clients: &[Arc<Recording>],
    turns: &BoxedStrategy<Vec<Turn>>,
    choices: &mut TestRunner,
) {
    let barrier = Arc::new(Barrier::new(clients.len()));
    let mut tasks = Vec::new();
    for heap in clients {
        let (heap, barrier) = (Arc::clone(heap), Arc::clone(&barrier));
        let turns = choose(turns, choices);
        tasks.push(tokio::spawn(async move {
            barrier.wait().await;
            for (call, forgets) in turns {
                let answer = ok(call.run(&*heap).await);
                yield_now().await;
                if let (Call::Lease { .. }, Answer::Entries(entries), true) =
                    (call, answer, forgets)
                {
                    let leased = entries.iter().map(|entry| entry.id).collect();
                    ok(Call::Forget(leased).run(&*heap).await);
                }
            }
        }));
    }
    for task in tasks {
        joined(task).await;
    }
}
