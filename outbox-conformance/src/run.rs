//! Runs a case, and ends one that would wait forever.

use crate::effort::{first_seed, of_this_thread, times};
use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{self, Builder};
use std::time::Duration;

/// The slowest case takes less than a minute on two busy cores. A soak takes so many times as long.
const LIMIT: Duration = Duration::from_secs(900);

/// Runs one case on a runtime of its own, with two worker threads so that races are real. A case
/// that waits for what never comes fails in the end.
#[doc(hidden)]
pub fn run<C: Future<Output = ()>>(case: impl FnOnce() -> C + Send + 'static) {
    run_within(LIMIT.saturating_mul(times()), case);
}

/// The case has a thread of its own, as a backend may block threads too: then no timer of the
/// runtime would run out. What waits in vain is left behind.
fn run_within<C: Future<Output = ()>>(limit: Duration, case: impl FnOnce() -> C + Send + 'static) {
    let name = thread::current().name().unwrap_or("case").to_owned();
    let (end, ended) = channel::<()>();
    let (named, seed) = (Builder::new().name(name.clone()), of_this_thread());
    let threads = name.clone();
    let running = named.spawn(move || {
        // Dropped after the runtime, and by a panic too.
        let _end = end;
        first_seed(seed);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(threads)
            .enable_all()
            .build()
            .unwrap_or_else(|error| panic!("no runtime for the case: {error}"));
        runtime.block_on(case());
    });
    let running = running.unwrap_or_else(|error| panic!("no thread for the case: {error}"));
    let is_over = ended.recv_timeout(limit) != Err(RecvTimeoutError::Timeout);
    assert!(
        is_over,
        "{name} has not ended within {limit:?}: something in it waits in vain"
    );
    if let Err(panic) = running.join() {
        resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::sync::{Arc, Barrier};

    const SHORT: Duration = Duration::from_millis(100);

    #[test]
    #[should_panic(expected = "waits in vain")]
    fn a_case_that_waits_in_vain_fails() {
        run_within(SHORT, pending);
    }

    #[test]
    #[should_panic(expected = "waits in vain")]
    fn a_case_that_blocks_all_threads_fails() {
        let never = Arc::new(Barrier::new(9));
        run_within(SHORT, async move || {
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
}
