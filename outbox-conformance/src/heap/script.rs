//! Random scripts: one caller on several handles, compared with the reference.

use super::HeapFixture;
use super::call::{Answer, Call};
use super::reference::{HOUR, Reference, entry_text};
use crate::case::progress;
use crate::check::{ok, refuse};
use crate::effort::{again, choose, runner, seeds, tree};
use outbox_core::{DlqEntry, DlqHeap, ErrorText, EventId, FailedAttempt};
use proptest::collection::vec;
use proptest::prelude::{BoxedStrategy, Just, Strategy, prop_oneof};
use proptest::sample::select;
use proptest::strategy::{Union, ValueTree};
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const SCRIPTS: u64 = 30;
const HANDLES: usize = 3;
/// The most times that a script is played again in order to shrink it.
const REPLAYS: usize = 1000;
/// The longest time to shrink a script.
const SHRINKING: Duration = Duration::from_secs(60);

/// The calls of one caller on an empty heap.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Script {
    /// Entries that are in the store at first, with their counts.
    pub planted: Vec<(EventId, u32)>,
    /// The steps after that.
    pub steps: Vec<Step>,
}

/// A step of a [`Script`]. Handles are counted from 0; there are three.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// A call on a handle. A prune is called until it has forgotten all that is old.
    Call(usize, Call),
    /// Forgets on a handle what the latest lease returned.
    ForgetLeased(usize),
    /// Moves the clock on.
    Elapse(Duration),
    /// Drops a handle and opens another.
    Reopen(usize),
}

impl Script {
    /// The script of a seed, always the same. Without `leases` it calls only what a heap of the
    /// three required methods has, and gives no error texts.
    #[must_use]
    pub fn random(seed: u64, leases: bool) -> Self {
        choose(&scripts(&event_ids(), leases), &mut runner(seed))
    }

    /// Plays it on the fixture's heap, which is empty before and after. Its ids are renamed, so
    /// entries that an earlier script left do not matter.
    ///
    /// Returns the answers of the heap as texts. Those of two correct heaps are equal if no lease
    /// was bounded.
    ///
    /// # Errors
    ///
    /// The first answer that the contract does not allow.
    pub async fn play<F: HeapFixture>(&self, fixture: &F) -> Result<Vec<String>, String> {
        let mut handles = handles(fixture).await;
        self.play_on(fixture, &mut handles, salt()).await
    }

    async fn play_on<F: HeapFixture>(
        &self,
        fixture: &F,
        handles: &mut [Arc<dyn DlqHeap>],
        salt: u128,
    ) -> Result<Vec<String>, String> {
        let mut play = Play {
            fixture,
            handles,
            salt,
            reference: Reference::default(),
            leased: Vec::new(),
            answers: Vec::new(),
        };
        play.plant(&self.planted).await?;
        for (place, step) in self.steps.iter().enumerate() {
            let played = play.step(step).await;
            played.map_err(|wrong| format!("step {}, {step}: {wrong}", place + 1))?;
        }
        // All leases have run out, so the drain returns all entries that are left.
        play.step(&Step::Elapse(4 * HOUR)).await?;
        let last = play.call(0, &Call::Drain { threshold: 0 }).await;
        last.map_err(|wrong| format!("in the end, drain_exceeded(0): {wrong}"))?;
        Ok(play.answers)
    }
}

/// Plays the scripts of a run, and fails with the shortest that goes wrong on a fresh heap.
///
/// The scripts that match share a heap, which each of them empties at its end. A fresh one for each
/// would take minutes on a server.
pub(crate) async fn scripts_match<F: HeapFixture>(fixtures: impl AsyncFn() -> F, leases: bool) {
    let strategy = scripts(&event_ids(), leases);
    let fixture = fixtures().await;
    let mut handles = handles(&fixture).await;
    let (mut played, mut steps) = (0, 0);
    for seed in seeds(SCRIPTS) {
        let tree = tree(&strategy, &mut runner(seed));
        let script = tree.current();
        // One script in four has the ids themselves, which are odd.
        let salt = if seed.is_multiple_of(4) { 0 } else { salt() };
        if let Err(wrong) = script.play_on(&fixture, &mut handles, salt).await {
            let again = again(seed);
            let Err(failure) = Failure::of(&script, fixtures().await).await else {
                refuse!(
                    "{wrong}\nin this script, which matches on an empty heap: so an earlier script \
                     left entries that its last drain did not return:\n{script}({again})"
                );
            };
            let failure = failure.shrink(&fixtures, tree).await;
            let (wrong, script) = (failure.wrong, failure.script);
            refuse!("{wrong}\nin this script, on an empty heap:\n{script}({again})");
        }
        (played, steps) = (played + 1, steps + script.steps.len());
        progress!("{played} scripts of {steps} steps match");
    }
    println!("{played} scripts of {steps} steps match");
}

/// A script that goes wrong on a fresh heap.
struct Failure<F> {
    script: Script,
    wrong: String,
    /// Its data is kept if the case fails, so it must exist until then.
    _fixture: F,
}

impl<F: HeapFixture> Failure<F> {
    async fn of(script: &Script, fixture: F) -> Result<(), Self> {
        let mut handles = handles(&fixture).await;
        let played = script.play_on(&fixture, &mut handles, 0).await;
        played.map(drop).map_err(|wrong| Self {
            script: script.clone(),
            wrong,
            _fixture: fixture,
        })
    }

    /// A shorter script that goes wrong, if one is found in time.
    async fn shrink(
        mut self,
        fixtures: &impl AsyncFn() -> F,
        mut tree: impl ValueTree<Value = Script>,
    ) -> Self {
        let (begun, mut is_simpler, mut replays) = (Instant::now(), tree.simplify(), 0);
        while is_simpler && replays < REPLAYS && begun.elapsed() < SHRINKING {
            replays += 1;
            progress!("a script fails; {replays} shorter ones were tried");
            is_simpler = match Self::of(&tree.current(), fixtures().await).await {
                Ok(()) => tree.complicate(),
                Err(failure) => {
                    self = failure;
                    tree.simplify()
                }
            };
        }
        self
    }
}

fn salt() -> u128 {
    Uuid::new_v4().as_u128()
}

async fn handles<F: HeapFixture>(fixture: &F) -> Vec<Arc<dyn DlqHeap>> {
    let mut handles = Vec::new();
    for _ in 0..HANDLES {
        handles.push(fixture.handle().await);
    }
    handles
}

struct Play<'p, F> {
    fixture: &'p F,
    handles: &'p mut [Arc<dyn DlqHeap>],
    /// Renames the ids of the script, and renames them back.
    salt: u128,
    reference: Reference,
    leased: Vec<EventId>,
    answers: Vec<String>,
}

impl<F: HeapFixture> Play<'_, F> {
    fn other(&self, id: EventId) -> EventId {
        Uuid::from_u128(id.as_uuid().as_u128() ^ self.salt).into()
    }

    async fn plant(&mut self, planted: &[(EventId, u32)]) -> Result<(), String> {
        if planted.is_empty() {
            return Ok(());
        }
        // The heap's time is read from the entry of another event.
        ok(self.handles[0].record_failure(EventId::new()).await);
        let drained = ok(self.handles[0].drain_exceeded(0).await);
        let Some(entry) = drained.first() else {
            return Err("a failure is not drained".to_owned());
        };
        let now = entry.last_failed_at;
        for (id, count) in planted {
            let entry = DlqEntry::new(self.other(*id), *count, now, now);
            self.fixture.plant(entry).await;
            self.reference.plant(*id, *count);
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Call(handle, Call::Prune { age, limit }) => {
                return self.prune(*handle, *age, *limit).await;
            }
            Step::Call(handle, call) => return self.call(*handle, call).await,
            Step::ForgetLeased(handle) => {
                let call = Call::Forget(std::mem::take(&mut self.leased));
                return self.call(*handle, &call).await;
            }
            Step::Elapse(time) => {
                self.fixture.elapse(*time).await;
                self.reference.elapse(*time);
            }
            Step::Reopen(handle) => self.handles[*handle] = self.fixture.handle().await,
        }
        Ok(())
    }

    async fn call(&mut self, handle: usize, call: &Call) -> Result<(), String> {
        let renamed = call.clone().rename(|id| self.other(id));
        let answered = renamed.run(&*self.handles[handle]).await;
        let answer = answered.map_err(|error| error.to_string())?;
        let answer = answer.rename(|id| self.other(id));
        self.reference.follow(call, &answer)?;
        self.answers.push(comparable(&answer));
        if let (Call::Lease { .. }, Answer::Entries(entries)) = (call, answer) {
            self.leased = entries.iter().map(|entry| entry.id).collect();
        }
        Ok(())
    }

    async fn prune(&mut self, handle: usize, age: Duration, limit: usize) -> Result<(), String> {
        let mut left = self.reference.prune(age);
        loop {
            let pruned = self.handles[handle].prune(age, limit).await;
            let pruned = pruned.map_err(|error| error.to_string())?;
            if pruned != left.min(limit) {
                return Err(format!(
                    "{left} entries are old, but the prune forgot {pruned}"
                ));
            }
            left -= pruned;
            self.answers.push(pruned.to_string());
            if pruned == 0 {
                return Ok(());
            }
        }
    }
}

/// An answer without the parts that differ between heaps: the time, and the order of entries.
fn comparable(answer: &Answer) -> String {
    match answer {
        Answer::Entries(entries) => {
            let mut entries: Vec<String> = entries.iter().map(entry_text).collect();
            entries.sort_unstable();
            entries.join("; ")
        }
        Answer::Size(size) => format!("{:?}", size.as_ref().map(|size| size.entries)),
        other => format!("{other:?}"),
    }
}

/// The ids of all scripts: a plain one, and two that a store might mistake for others. They are
/// few, so that several calls have the same id.
fn event_ids() -> [EventId; 3] {
    let plain = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
    [plain, Uuid::nil(), Uuid::max()].map(EventId::from)
}

fn scripts(ids: &[EventId], leases: bool) -> impl Strategy<Value = Script> + use<> {
    let counts = select(vec![0x7fff_ffff, u32::MAX - 1, u32::MAX]);
    let plants = ids.iter().map(|id| (Just(*id), counts.clone()));
    let planted = proptest::sample::subsequence(plants.collect::<Vec<_>>(), 1..=3);
    let planted = prop_oneof![1 => Just(Vec::new()), 3 => planted.prop_flat_map(|plants| plants)];
    let step = steps(ids, leases);
    (planted, vec(step, 1..70)).prop_map(|(planted, steps)| Script { planted, steps })
}

fn steps(ids: &[EventId], leases: bool) -> BoxedStrategy<Step> {
    let on_handle = (0..HANDLES, calls(ids, leases, vec![0, 1, 2, 3, u32::MAX]));
    let call = on_handle.prop_map(|(handle, call)| Step::Call(handle, call));
    let elapse = (1..=2_u32).prop_map(|hours| Step::Elapse(hours * HOUR));
    let reopen = (0..HANDLES).prop_map(Step::Reopen);
    let forget = (0..HANDLES).prop_map(Step::ForgetLeased);
    prop_oneof![
        60 => call,
        5 => elapse,
        1 => reopen,
        if leases { 6 } else { 0 } => forget,
    ]
    .boxed()
}

/// A lease runs out, and an entry is old, in the middle of an hour: after one step of the clock or
/// after two.
fn spans() -> impl Strategy<Value = Duration> + Clone {
    select(vec![HOUR / 2, HOUR + HOUR / 2])
}

/// Any call of a heap; without `leases` of the required methods and their batches.
pub(crate) fn calls(ids: &[EventId], leases: bool, thresholds: Vec<u32>) -> BoxedStrategy<Call> {
    let (id, threshold) = (select(ids.to_vec()), select(thresholds));
    let errors = if leases {
        vec![None, Some(""), Some("refused"), Some("pas reçu: \"é\"")]
    } else {
        vec![None]
    };
    let failure = (id.clone(), select(errors)).prop_map(|(id, error)| {
        let failure = FailedAttempt::new(id);
        match error {
            Some(error) => failure.with_error(ErrorText::new(error)),
            None => failure,
        }
    });
    let some = proptest::sample::subsequence(ids.to_vec(), 0..=2);
    let mut all = vec![
        (6, id.clone().prop_map(Call::RecordFailure).boxed()),
        (3, vec(failure, 0..4).prop_map(Call::RecordFailures).boxed()),
        (2, id.prop_map(Call::RecordSuccess).boxed()),
        (1, some.prop_map(Call::Forget).boxed()),
        (
            3,
            threshold
                .clone()
                .prop_map(|threshold| Call::Drain { threshold })
                .boxed(),
        ),
    ];
    if leases {
        let lease = (threshold, 0..5_usize, spans());
        let lease = lease.prop_map(|(threshold, limit, lease)| Call::Lease {
            threshold,
            limit,
            lease,
        });
        let prune = (spans(), 1..3_usize).prop_map(|(age, limit)| Call::Prune { age, limit });
        all.extend([
            (4, lease.boxed()),
            (3, prune.boxed()),
            (1, Just(Call::Size).boxed()),
        ]);
    }
    Union::new_weighted(all).boxed()
}

impl Display for Script {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (id, count) in &self.planted {
            writeln!(f, "  planted: {id} with count {count}")?;
        }
        for (place, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {:2}. {step}", place + 1)?;
        }
        Ok(())
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(handle, call) => write!(f, "handle {handle}: {call}"),
            Self::ForgetLeased(handle) => write!(f, "handle {handle}: forget what was leased last"),
            Self::Elapse(time) => write!(f, "the clock moves on by {time:?}"),
            Self::Reopen(handle) => write!(f, "handle {handle}: opened again"),
        }
    }
}
