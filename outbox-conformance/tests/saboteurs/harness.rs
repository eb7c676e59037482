//! Runs each case against each fault that it must refuse, and against none.

use std::collections::HashSet;
use std::fmt::Debug;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};

/// How often a fault is refused, each time from other seeds. A case that finds it by luck would
/// pass now and then.
const RUNS: u64 = 200;

/// The same on threads.
const RUNS_ON_THREADS: u64 = 100;

/// From one run's first seed to the next one's: more than a case takes.
const SEEDS: u64 = 1000;

/// The thread of a case, whose panics are expected.
const THREAD: &str = "saboteur";

/// A suite, and which of its cases refuses which fault.
pub(crate) struct Trial<F: 'static> {
    pub(crate) cases: &'static [(&'static str, &'static str)],
    pub(crate) refusals: &'static [(F, &'static str)],
    /// What is not a fault.
    pub(crate) sound: F,
    /// Runs a case on a backend with a fault, and panics where the case does.
    pub(crate) run: fn(&'static str, F),
}

impl<F: Copy + Debug + Send + Sync> Trial<F> {
    /// Asserts that each fault is refused in every run, that each case passes on what is sound, and
    /// that each case refuses a fault.
    pub(crate) fn judge(&self) {
        be_quiet();
        let mut missed = at_once(self.refusals, |&(fault, case)| {
            let firsts = (0..RUNS).map(|run| 1 + run * SEEDS);
            let passed: Vec<u64> = firsts
                .filter(|&first| passes(self.run, case, fault, first))
                .collect();
            (!passed.is_empty()).then(|| format!("{case} passes {fault:?} from seeds {passed:?}"))
        });
        for (_, case) in self.cases {
            if !passes(self.run, case, self.sound, 1) {
                missed.push(format!("{case} refuses what is sound"));
            }
        }
        assert!(missed.is_empty(), "{missed:#?}");
        let refusing: HashSet<&str> = self.refusals.iter().map(|(_, case)| *case).collect();
        let listed: HashSet<&str> = self.cases.iter().map(|(_, case)| *case).collect();
        assert_eq!(refusing, listed);
        let faults = self.refusals.iter().map(|(fault, _)| format!("{fault:?}"));
        println!(
            "{} faults, {} refusals by {} cases, each in {RUNS} runs",
            faults.collect::<HashSet<_>>().len(),
            self.refusals.len(),
            listed.len(),
        );
    }

    /// Asserts that each of `cases` passes on what is sound where `run` runs it, on threads, and
    /// refuses its faults there in every run too. `blocking` are faults that a case refuses because
    /// it waits in vain, which takes it too long by a clock that nobody moves.
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
        let mut missed = Vec::new();
        for &(fault, case) in self.refusals.iter().filter(judged) {
            let firsts = (0..RUNS_ON_THREADS).map(|run| 1 + run * SEEDS);
            let passed = firsts.filter(|&first| passes(run, case, fault, first));
            let passed = passed.count();
            if passed > 0 {
                missed.push(format!(
                    "{case} passes {fault:?} in {passed} of {RUNS_ON_THREADS} runs"
                ));
            }
        }
        for case in cases {
            if !passes(run, case, self.sound, 1) {
                missed.push(format!("{case} refuses what is sound"));
            }
        }
        assert!(missed.is_empty(), "on threads: {missed:#?}");
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

fn passes<F: Send + 'static>(
    run: fn(&'static str, F),
    case: &'static str,
    fault: F,
    first_seed: u64,
) -> bool {
    let thread = std::thread::Builder::new().name(THREAD.to_owned());
    let thread = thread.spawn(move || {
        outbox_conformance::first_seed(first_seed);
        run(case, fault);
    });
    thread.expect("a thread").join().is_ok()
}

/// Runs a case. Its tasks share one thread and take turns at each await, and what waits in vain is
/// found at once, as the clock moves on when all wait.
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
