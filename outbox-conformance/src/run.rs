//! Runs a case, prints how far a long one is, and ends one that would wait forever.

use crate::case::Case;
use crate::effort::{first_seed, of_this_thread, times};
use std::io::{Write, stdout};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

/// The slowest case takes less than a minute on two busy cores. A soak takes so many times as long.
const LIMIT: Duration = Duration::from_secs(450);

/// How often a long case prints how far it is.
const REPORT: Duration = Duration::from_secs(10);

/// Runs one case on its own runtime, with two worker threads so that races are real. A case that
/// hangs fails at a time limit.
#[doc(hidden)]
pub fn run<C: Future<Output = ()>>(case: impl FnOnce() -> C + Send + 'static) {
    run_within(LIMIT.saturating_mul(times()), REPORT, case);
}

/// As [`run`], for a case of a suite.
#[doc(hidden)]
pub fn run_case<C: Future<Output = ()>>(
    case: &Arc<Case>,
    body: impl FnOnce() -> C + Send + 'static,
) {
    Arc::clone(case).enter();
    run(body);
    case.log();
}

/// The case has its own thread, as a backend may block threads too: then no timer of the runtime
/// would run out. The threads of a case that hangs are not stopped.
fn run_within<C: Future<Output = ()>>(
    limit: Duration,
    report: Duration,
    case: impl FnOnce() -> C + Send + 'static,
) {
    let name = thread::current().name().unwrap_or("case").to_owned();
    let (end, ended) = channel::<()>();
    let (named, seed) = (Builder::new().name(name.clone()), of_this_thread());
    let (threads, current) = (name.clone(), Case::current());
    let running = named.spawn(move || {
        // Dropped after the runtime, and by a panic too.
        let _end = end;
        let enter = move || current.iter().for_each(|case| Arc::clone(case).enter());
        enter();
        first_seed(seed);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(threads)
            .on_thread_start(enter)
            .enable_all()
            .build()
            .unwrap_or_else(|error| panic!("no runtime for the case: {error}"));
        runtime.block_on(case());
    });
    let running = running.unwrap_or_else(|error| panic!("no thread for the case: {error}"));
    let is_over = wait(&ended, limit, report, |time| {
        let progress = Case::current().map(|case| case.progress());
        let progress = progress.filter(|text| !text.is_empty()).unwrap_or_default();
        // Not `println!`, of which the test harness shows nothing until the case has failed.
        let _ = writeln!(stdout(), "{name}: running for {time:.0?}; {progress}");
    });
    assert!(is_over, "{name} has not ended within {limit:?}: it hangs");
    if let Err(panic) = running.join() {
        resume_unwind(panic);
    }
}

/// Whether the case ends within the limit. Calls `report` at each interval until then.
fn wait(
    ended: &Receiver<()>,
    limit: Duration,
    interval: Duration,
    report: impl Fn(Duration),
) -> bool {
    let begun = Instant::now();
    loop {
        let left = limit.saturating_sub(begun.elapsed());
        if ended.recv_timeout(left.min(interval)) != Err(RecvTimeoutError::Timeout) {
            return true;
        }
        if begun.elapsed() >= limit {
            return false;
        }
        report(begun.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::future::pending;
    use std::sync::Barrier;

    const SHORT: Duration = Duration::from_millis(100);

    #[test]
    #[should_panic(expected = "it hangs")]
    fn a_case_that_hangs_fails() {
        run_within(SHORT, REPORT, pending);
    }

    #[test]
    #[should_panic(expected = "it hangs")]
    fn a_case_that_blocks_all_threads_fails() {
        let never = Arc::new(Barrier::new(9));
        run_within(SHORT, REPORT, async move || {
            for _ in 0..3 {
                let never = Arc::clone(&never);
                tokio::spawn(async move { never.wait() });
            }
            never.wait();
        });
    }

    #[test]
    #[should_panic(expected = "refused")]
    fn a_case_that_fails_says_why() {
        run(async || panic!("refused"));
    }

    #[test]
    fn a_long_case_reports_at_each_interval() {
        let (end, ended) = channel();
        let (reports, end) = (Cell::new(0), Cell::new(Some(end)));
        let report = |_| {
            reports.set(reports.get() + 1);
            if reports.get() == 3 {
                end.take();
            }
        };
        assert!(wait(
            &ended,
            Duration::MAX,
            Duration::from_millis(5),
            report
        ));
        assert_eq!(reports.get(), 3);
    }

    #[test]
    fn each_thread_of_a_case_knows_the_case() {
        run_case(&Case::named("a_case", "H1"), async || {
            let name = || Case::current().map(|case| case.name);
            assert_eq!(name(), Some("a_case"));
            assert_eq!(tokio::spawn(async move { name() }).await.unwrap(), name());
            assert_eq!(tokio::task::spawn_blocking(name).await.unwrap(), name());
        });
    }
}
