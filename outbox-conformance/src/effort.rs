//! The length and the first seed of the random cases. Both come from the environment, so a soak is
//! the same test with larger numbers.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::cell::Cell;
use std::fmt::Debug;

const SEED: &str = "OUTBOX_CONFORMANCE_SEED";
const CASES: &str = "OUTBOX_CONFORMANCE_CASES";

thread_local! {
    static FIRST: Cell<u64> = const { Cell::new(1) };
}

/// Sets the first seed of this thread, unless the environment names one: for runs that must not all
/// make the same choices.
#[doc(hidden)]
pub fn first_seed(seed: u64) {
    FIRST.set(seed);
}

/// What [`first_seed`] set on this thread.
pub(crate) fn of_this_thread() -> u64 {
    FIRST.get()
}

/// How many times as long a run is as by default.
pub(crate) fn times() -> u32 {
    u32::try_from(number(CASES, 1, 1)).unwrap_or(u32::MAX)
}

/// The seeds of a run: `count` of them, from 1. `OUTBOX_CONFORMANCE_SEED` sets the first, and
/// `OUTBOX_CONFORMANCE_CASES` how many times as many there are.
pub fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let first = number(SEED, 0, FIRST.get());
    let count = count.saturating_mul(times().into());
    (first..=u64::MAX).take(usize::try_from(count).unwrap_or(usize::MAX))
}

/// The settings with which a person repeats the failure of a seed.
pub(crate) fn again(seed: u64) -> String {
    match times() {
        1 => format!("{SEED}={seed} starts with this seed"),
        times => format!("{SEED}={seed} {CASES}={times} starts with this seed"),
    }
}

/// The source of all choices of a seed.
pub(crate) fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    TestRunner::new_with_rng(Config::default(), rng)
}

/// A choice that can be made simpler.
pub(crate) fn tree<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> S::Tree {
    let tree = strategy.new_tree(runner);
    tree.unwrap_or_else(|reason| panic!("no value to try: {reason}"))
}

/// A choice.
pub(crate) fn choose<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> S::Value
where
    S::Value: Debug,
{
    tree(strategy, runner).current()
}

fn number(name: &str, least: u64, default: u64) -> u64 {
    let Some(value) = std::env::var_os(name) else {
        return default;
    };
    let text = value.to_string_lossy();
    let number = text.parse().ok().filter(|number| *number >= least);
    number.unwrap_or_else(|| panic!("{name} is {text:?}; it takes a whole number from {least}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::any;

    #[test]
    fn a_seed_makes_the_same_choices_again() {
        let choices = |seed| {
            choose(
                &proptest::collection::vec(any::<u64>(), 9),
                &mut runner(seed),
            )
        };
        assert_eq!(choices(7), choices(7));
        assert_ne!(choices(7), choices(8));
    }
}
