use super::*;
use outbox_core::EventId;
use std::time::SystemTime;

const HOUR: Duration = Duration::from_secs(3600);

fn entry(count: u32) -> Got {
    let now = SystemTime::UNIX_EPOCH;
    Got::Entry(DlqEntry::new(
        EventId::from(uuid::Uuid::nil()),
        count,
        now,
        now,
    ))
}

fn fail() -> Effect {
    Effect::Fail(vec![None])
}

fn drain(got: Got) -> Effect {
    Effect::Drain { threshold: 1, got }
}

fn lease(got: Got) -> Effect {
    Effect::Lease {
        threshold: 1,
        lease: HOUR,
        got,
        may_skip: false,
    }
}

/// Calls with their starts and ends; an end of 0 means that the call has not ended.
fn spans(calls: &[(u64, u64, Effect)]) -> Vec<Span> {
    let span = |(began, ended, effect): &(u64, u64, Effect)| Span {
        began: *began,
        ended: (*ended > 0).then_some(*ended),
        effect: effect.clone(),
    };
    calls.iter().map(span).collect()
}

#[track_caller]
fn accepts(calls: &[(u64, u64, Effect)]) {
    explain(&spans(calls)).expect("an order explains it");
}

/// Returns the calls of the report.
#[track_caller]
fn refuses(calls: &[(u64, u64, Effect)]) -> Stuck {
    explain(&spans(calls)).expect_err("no order explains it")
}

#[test]
fn one_call_after_another_has_one_order() {
    accepts(&[]);
    accepts(&[(1, 2, fail()), (3, 4, fail()), (5, 6, drain(entry(2)))]);
    accepts(&[
        (1, 2, fail()),
        (3, 4, Effect::Forget),
        (5, 6, drain(Got::Nothing)),
    ]);
    refuses(&[(1, 2, fail()), (3, 4, drain(entry(2)))]);
    refuses(&[(1, 2, fail()), (3, 4, drain(Got::Nothing))]);
    refuses(&[
        (1, 2, fail()),
        (3, 4, Effect::Forget),
        (5, 6, drain(entry(1))),
    ]);
}

#[test]
fn calls_at_once_may_take_effect_in_any_order() {
    for got in [entry(1), entry(2), Got::Nothing] {
        accepts(&[(1, 4, fail()), (2, 5, fail()), (3, 6, drain(got))]);
    }
    refuses(&[(1, 4, fail()), (2, 5, fail()), (3, 6, drain(entry(3)))]);
    // One of them had ended before the drain began.
    refuses(&[(1, 2, fail()), (3, 5, fail()), (4, 6, drain(Got::Nothing))]);
}

#[test]
fn an_entry_leaves_once() {
    let once = drain(entry(1));
    accepts(&[
        (1, 2, fail()),
        (3, 5, once.clone()),
        (4, 6, drain(Got::Nothing)),
    ]);
    refuses(&[(1, 2, fail()), (3, 5, once.clone()), (4, 6, once.clone())]);
    accepts(&[
        (1, 2, fail()),
        (3, 6, once.clone()),
        (4, 7, once),
        (5, 8, fail()),
    ]);
}

#[test]
fn an_update_that_is_lost_is_found_by_a_later_drain() {
    refuses(&[(1, 3, fail()), (2, 4, fail()), (5, 6, drain(entry(1)))]);
    // A drain between them would have taken it.
    refuses(&[
        (1, 4, fail()),
        (2, 5, fail()),
        (3, 6, drain(Got::Nothing)),
        (7, 8, drain(entry(1))),
    ]);
}

#[test]
fn a_call_that_never_returned_took_effect_at_any_time_or_never() {
    for got in [entry(1), entry(2)] {
        accepts(&[(1, 0, fail()), (2, 3, fail()), (4, 5, drain(got))]);
    }
    refuses(&[(1, 0, fail()), (2, 3, fail()), (4, 5, drain(entry(3)))]);
    let later = [
        (1, 0, fail()),
        (2, 3, drain(Got::Nothing)),
        (4, 5, drain(entry(1))),
        (6, 7, drain(Got::Nothing)),
    ];
    accepts(&later);
    // Once, however late.
    refuses(&[&later[..], &[(8, 9, drain(entry(1)))]].concat());
    // It cannot have begun before it was called.
    refuses(&[(1, 2, drain(entry(1))), (3, 0, fail())]);
    // A drain whose answer was lost took the entry, or did not.
    for got in [entry(1), Got::Nothing] {
        accepts(&[
            (1, 2, fail()),
            (3, 0, drain(Got::Unknown)),
            (4, 5, drain(got)),
        ]);
    }
}

#[test]
fn a_lease_hides_until_the_clock_has_moved_on() {
    let leased = [(1, 2, fail()), (3, 4, lease(entry(1)))];
    let then = |calls: &[(u64, u64, Effect)]| [&leased[..], calls].concat();
    accepts(&then(&[
        (5, 6, drain(Got::Nothing)),
        (7, 8, lease(Got::Nothing)),
    ]));
    refuses(&then(&[(5, 6, drain(entry(1)))]));
    refuses(&then(&[(5, 6, lease(entry(1)))]));
    let over = (5, 0, Effect::Elapse(HOUR));
    accepts(&then(&[over.clone(), (6, 7, drain(entry(1)))]));
    refuses(&then(&[over.clone(), (6, 7, drain(Got::Nothing))]));
    accepts(&then(&[
        (5, 6, fail()),
        (7, 0, Effect::Elapse(HOUR)),
        (8, 9, drain(entry(2))),
    ]));
    refuses(&then(&[
        (5, 6, Effect::Forget),
        (7, 0, Effect::Elapse(HOUR)),
        (8, 9, drain(entry(1))),
    ]));
    // A lease whose answer was lost may have been taken before the clock moved on.
    for got in [entry(1), Got::Nothing] {
        let lost = (3, 0, lease(Got::Unknown));
        let moved = (4, 0, Effect::Elapse(HOUR / 2));
        accepts(&[(1, 2, fail()), lost, moved, (5, 6, drain(got))]);
    }
}

#[test]
fn a_lease_whose_answer_was_lost_began_before_the_clock_moved_on() {
    let half = |at| (at, 0, Effect::Elapse(HOUR / 2));
    accepts(&[
        (1, 2, fail()),
        (3, 0, lease(Got::Unknown)),
        half(4),
        (5, 6, drain(Got::Nothing)),
        half(7),
        (8, 9, drain(entry(1))),
    ]);
}

#[test]
fn a_lease_passes_over_what_is_due_only_if_it_may() {
    let mut calls = [
        (1, 2, fail()),
        (3, 4, lease(Got::Nothing)),
        (5, 6, drain(entry(1))),
    ];
    refuses(&calls);
    if let Effect::Lease { may_skip, .. } = &mut calls[1].2 {
        *may_skip = true;
    }
    accepts(&calls);
}

#[test]
fn a_prune_forgets_what_is_old_or_leaves_it() {
    let prune = |forgot_nothing| Effect::Prune {
        age: HOUR / 2,
        forgot_nothing,
    };
    let then = |prune, got| {
        let moved = (3, 0, Effect::Elapse(HOUR));
        [(1, 2, fail()), moved, (4, 5, prune), (6, 7, drain(got))]
    };
    for got in [entry(1), Got::Nothing] {
        accepts(&then(prune(false), got));
    }
    accepts(&then(prune(true), entry(1)));
    refuses(&then(prune(true), Got::Nothing));
    let young = [(1, 2, fail()), (3, 4, prune(false))];
    refuses(&[&young[..], &[(5, 6, drain(Got::Nothing))]].concat());
}

#[test]
fn a_report_starts_without_an_entry_and_omits_calls_that_changed_nothing() {
    let bystander = Effect::Drain {
        threshold: 9,
        got: Got::Nothing,
    };
    let stuck = refuses(&[
        (1, 2, fail()),
        (3, 4, drain(entry(1))),
        (5, 8, fail()),
        (6, 9, bystander),
        (7, 10, drain(entry(7))),
        (11, 12, fail()),
    ]);
    assert_eq!(stuck.0, [2, 4]);
}

#[test]
fn long_histories_are_explained() {
    // Eight clients: each round they record at once, and one drain takes what they recorded.
    let mut calls = Vec::new();
    for round in 0..250 {
        let begin = round * 100;
        for client in 1..=8 {
            calls.push((begin + client, begin + 20 + client, fail()));
        }
        calls.push((begin + 40, begin + 41, drain(entry(8))));
    }
    accepts(&calls);
    calls.push((90_000, 90_001, drain(entry(1))));
    assert_eq!(refuses(&calls).0, [calls.len() - 1]);
}
