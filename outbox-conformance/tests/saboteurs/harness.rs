//! Runs each case against each fault that it must refuse, and against none.

use outbox_conformance::Case;
use std::collections::HashSet;
use std::fmt::Debug;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};

/// Names how often a fault is refused, each time from other seeds; on threads half as often. A case
/// that finds it by luck would pass now and then.
const RUNS: &str = "OUTBOX_SABOTEUR_RUNS";

/// The runs of the default tier.
const DEFAULT_RUNS: u64 = 20;

/// From one run's first seed to the next one's: more than a case takes.
const SEEDS: u64 = 1000;

/// The thread of a case, whose panics are expected.
const THREAD: &str = "saboteur";

/// A suite, and which of its cases refuses which fault.
pub(crate) struct Trial<F: 'static> {
    pub(crate) cases: &'static [(&'static str, &'static str)],
    pub(crate) refusals: &'static [(F, &'static str)],
    /// The ids of the clauses that a case of a group checks.
    pub(crate) clauses: fn(&str, &str) -> &'static str,
    /// What is not a fault.
    pub(crate) sound: F,
    /// Runs a case on a backend with a fault, and panics where the case does.
    pub(crate) run: fn(&'static str, F),
}

impl<F: Copy + Debug + Send + Sync> Trial<F> {
    /// Asserts that each fault is refused in every run by a message with the clauses of the case,
    /// that each case passes on a sound backend, and that each case refuses a fault.
    pub(crate) fn judge(&self) {
        be_quiet();
        let runs = runs();
        let mut missed = at_once(self.refusals, |&(fault, case)| {
            self.missed(self.run, case, fault, runs)
        });
        let cases = self.cases.iter().map(|(_, case)| *case);
        missed.extend(cases.filter_map(|case| self.unsound(self.run, case)));
        assert!(missed.is_empty(), "{missed:#?}");
        let refusing: HashSet<&str> = self.refusals.iter().map(|(_, case)| *case).collect();
        let listed: HashSet<&str> = self.cases.iter().map(|(_, case)| *case).collect();
        assert_eq!(refusing, listed);
        let faults = self.refusals.iter().map(|(fault, _)| format!("{fault:?}"));
        println!(
            "{} faults, {} refusals by {} cases, each in {runs} runs",
            faults.collect::<HashSet<_>>().len(),
            self.refusals.len(),
            listed.len(),
        );
    }

    /// Asserts that each of `cases` passes on a sound backend where `run` runs it, on threads, and
    /// refuses its faults there in every run too. `blocking` are faults that make a case hang: its
    /// time limit refuses them, which takes too long on a clock that does not jump.
    pub(crate) fn judge_on_threads(
        &self,
        cases: &[&'static str],
        blocking: &[F],
        run: fn(&'static str, F),
    ) where
        F: PartialEq,
    {
        be_quiet();
        let judged =
            |(fault, case): &&(F, &'static str)| cases.contains(case) && !blocking.contains(fault);
        let judged = self.refusals.iter().filter(judged);
        let mut missed: Vec<String> = judged
            .filter_map(|&(fault, case)| self.missed(run, case, fault, runs().div_ceil(2)))
            .collect();
        missed.extend(cases.iter().filter_map(|case| self.unsound(run, case)));
        assert!(missed.is_empty(), "on threads: {missed:#?}");
    }

    /// What is wrong with the refusals of a fault.
    fn missed(
        &self,
        run: fn(&'static str, F),
        case: &'static str,
        fault: F,
        runs: u64,
    ) -> Option<String> {
        let clauses = self.clauses_of(case);
        let (mut passed, mut unclear) = (Vec::new(), None);
        for first in (0..runs).map(|run| 1 + run * SEEDS) {
            match self.refusal(run, case, fault, first) {
                None => passed.push(first),
                Some(message) if message.starts_with(&format!("{clauses}: ")) => {}
                Some(message) => unclear = Some(message),
            }
        }
        if !passed.is_empty() {
            return Some(format!("{case} passes {fault:?} from seeds {passed:?}"));
        }
        unclear.map(|message| format!("{case} refuses {fault:?} without {clauses}: {message}"))
    }

    /// Why a case refuses a sound backend.
    fn unsound(&self, run: fn(&'static str, F), case: &'static str) -> Option<String> {
        let message = self.refusal(run, case, self.sound, 1)?;
        Some(format!("{case} refuses a sound backend: {message}"))
    }

    fn clauses_of(&self, case: &str) -> &'static str {
        let found = self.cases.iter().find(|(_, name)| *name == case);
        let (group, _) = found.expect("a case of the suite");
        (self.clauses)(group, case)
    }

    /// The message with which a case refuses a backend.
    fn refusal(
        &self,
        run: fn(&'static str, F),
        case: &'static str,
        fault: F,
        first_seed: u64,
    ) -> Option<String> {
        let clauses = self.clauses_of(case);
        let thread = std::thread::Builder::new().name(THREAD.to_owned());
        let refused = std::thread::scope(|scope| {
            let thread = thread.spawn_scoped(scope, move || {
                outbox_conformance::first_seed(first_seed);
                Case::named(case, clauses).enter();
                run(case, fault);
            });
            thread.expect("a thread").join()
        });
        let panic = refused.err()?;
        let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let message = panic.downcast::<String>().map(|message| *message).ok();
        Some(text.or(message).unwrap_or_default())
    }

    /// The faults that a case refuses, in words.
    pub(crate) fn refused_by(&self, case: &str) -> Vec<String> {
        let refusals = self
            .refusals
            .iter()
            .filter(|(_, refusing)| *refusing == case);
        refusals
            .map(|(fault, _)| words(&format!("{fault:?}")))
            .collect()
    }
}

/// Does all of it on as many threads as there are processors, and returns what was found.
fn at_once<T: Sync>(all: &[T], find: impl Fn(&T) -> Option<String> + Sync) -> Vec<String> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let one = find(one);
            found.lock().expect("no panic").extend(one);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
    found.into_inner().expect("no panic")
}

fn runs() -> u64 {
    let Some(value) = std::env::var_os(RUNS) else {
        return DEFAULT_RUNS;
    };
    let text = value.to_string_lossy();
    let runs = text.parse().ok().filter(|runs| *runs > 0);
    runs.unwrap_or_else(|| panic!("{RUNS} is {text:?}, but must be a whole number from 1"))
}

/// Runs a case. Its tasks share one thread and take turns at each await. A time limit is reached at
/// once, as the clock jumps to the next timer when all tasks wait.
pub(crate) fn block_on(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .thread_name(THREAD)
        .build();
    runtime.expect("a runtime").block_on(case);
}

/// `LikeThis` as "like this".
fn words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

fn be_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() != Some(THREAD) {
                loud(panic);
            }
        }));
    });
}
