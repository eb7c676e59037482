//! The assertions of the cases. A message has the ids of the clauses, the expected value and the
//! value that came.

use crate::case::Case;
use outbox_core::{ErrorKind, OutboxError};
use std::fmt::{Arguments, Debug};
use std::panic::resume_unwind;
use tokio::task::{JoinError, JoinHandle};

/// The most characters of a value in a message.
const MOST: usize = 2000;

/// Ends the case with a message after the clauses that the case checks.
macro_rules! refuse {
    ($($what:tt)+) => { $crate::check::refuse_with(format_args!($($what)+)) };
}

/// Ends the case unless a condition holds. The message states the expected value and the value that
/// came.
macro_rules! check {
    ($holds:expr, $($what:tt)+) => {{
        let holds: bool = $holds;
        if !holds {
            $crate::check::refuse!($($what)+);
        }
    }};
}

/// Ends the case unless the first value, which came from the backend, is the second.
macro_rules! check_eq {
    ($came:expr, $expected:expr $(,)?) => {
        $crate::check::check_eq!($came, $expected, "{}", stringify!($came))
    };
    ($came:expr, $expected:expr, $($what:tt)+) => {
        match (&$came, &$expected) {
            (came, expected) => {
                if *came != *expected {
                    let (expected, came) =
                        ($crate::check::short(expected), $crate::check::short(came));
                    let what = format_args!($($what)+);
                    $crate::check::refuse!("{what}: expected {expected}, came {came}");
                }
            }
        }
    };
}

pub(crate) use {check, check_eq, refuse};

/// Panics with the clauses of the case that runs, and a message.
#[track_caller]
pub(crate) fn refuse_with(message: Arguments<'_>) -> ! {
    match Case::current() {
        Some(case) => panic!("{}: {message}", case.clauses),
        None => panic!("{message}"),
    }
}

/// A value for a message, and no more of it than a person reads.
pub(crate) fn short(value: &(impl Debug + ?Sized)) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}… ({} bytes in all)", &text[..end], text.len()),
        None => text,
    }
}

/// The value of a call that must succeed.
#[track_caller]
pub(crate) fn ok<T>(result: Result<T, OutboxError>) -> T {
    result.unwrap_or_else(|error| refuse!("expected a call to succeed, came the error: {error}"))
}

/// Checks that a call fails with an error of the kind.
#[track_caller]
pub(crate) fn check_kind<T>(result: Result<T, OutboxError>, kind: ErrorKind, what: &str) {
    match result {
        Ok(_) => refuse!("{what}: expected an error of the kind {kind:?}, came a success"),
        Err(error) => check!(
            error.kind() == kind,
            "{what}: expected an error of the kind {kind:?}, came {:?}: {error}",
            error.kind()
        ),
    }
}

/// The item of the number, counted from 0, of those that came.
#[track_caller]
pub(crate) fn nth<'i, T: Debug>(items: &'i [T], number: usize, what: &str) -> &'i T {
    let too_few = || {
        refuse!(
            "{what}: expected {} or more, came {}",
            number + 1,
            short(&items)
        )
    };
    items.get(number).unwrap_or_else(too_few)
}

/// The output of a task. If the task panicked, its panic continues here.
pub(crate) async fn joined<T>(task: JoinHandle<T>) -> T {
    unwrapped(task.await)
}

/// What a task returned. If it panicked, its panic continues here.
pub(crate) fn unwrapped<T>(result: Result<T, JoinError>) -> T {
    match result {
        Ok(output) => output,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(error) => refuse!("expected a task to end, came: {error}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    fn message(refused: impl FnOnce() + std::panic::UnwindSafe + Send + 'static) -> String {
        let case = Case::named("a_case", "H1, H4");
        let in_case = move || {
            case.enter();
            catch_unwind(refused)
        };
        let panic = std::thread::spawn(in_case).join().unwrap().unwrap_err();
        panic.downcast_ref::<String>().unwrap().clone()
    }

    #[test]
    fn a_refusal_has_the_clauses_and_both_values() {
        let counts = || check_eq!([3], [2], "counts after {} failures", 2);
        assert_eq!(
            message(counts),
            "H1, H4: counts after 2 failures: expected [2], came [3]"
        );
        assert_eq!(
            message(|| check_eq!(1 + 1, 3)),
            "H1, H4: 1 + 1: expected 3, came 2"
        );
        let none: [u8; 0] = [];
        assert_eq!(
            message(move || assert_eq!(*nth(&none, 0, "drained entries"), 0)),
            "H1, H4: drained entries: expected 1 or more, came []"
        );
        let error = || OutboxError::invalid("heap", "open", "no name");
        assert!(message(move || ok(Err(error()))).starts_with("H1, H4: expected a call"));
        let kind = move || check_kind(Err::<(), _>(error()), ErrorKind::Duplicate, "an append");
        let expected = "H1, H4: an append: expected an error of the kind Duplicate, came Invalid";
        assert!(message(kind).starts_with(expected));
    }

    #[test]
    fn a_long_value_is_cut() {
        let text = short(&vec!['é'; MOST]);
        assert!(text.ends_with("bytes in all)"), "{text}");
        assert!(text.chars().count() < MOST + 30);
    }
}
