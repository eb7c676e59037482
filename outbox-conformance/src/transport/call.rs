//! Calls with a time limit, and what must hold after them.

use super::TransportFixture;
use crate::check::{check, check_eq, refuse};
use outbox_core::{Event, EventId, PublishError, PublishErrorKind, Transport};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use tokio::time::timeout;

/// One answer for each event of a call.
pub(crate) type Answers = Vec<Result<(), PublishError>>;

/// How many keys the events of a call have.
const KEYS: usize = 3;

/// T1, T9: the answers of a call, one for each event, within the time of the fixture.
pub(crate) async fn publish<F: TransportFixture>(
    fixture: &F,
    transport: &dyn Transport,
    events: &[Event],
) -> Answers {
    let limit = fixture.answers_within();
    let Ok(answers) = timeout(limit, transport.publish(events)).await else {
        refuse!(
            "expected a call with {} events to answer within {limit:?}, came no answer",
            events.len()
        );
    };
    check_eq!(answers.len(), events.len(), "the number of answers");
    answers
}

/// New events for a call, of new keys. Only a transport that keeps order gets several of a key.
pub(crate) fn keyed(transport: &dyn Transport, group: &str, count: usize) -> Vec<Event> {
    let call = EventId::new();
    let event = |number: usize| {
        let key = if transport.keeps_order() {
            number % KEYS
        } else {
            number
        };
        let event = Event::new(format!("conformance.{group}"), format!("payload {number}"));
        event.ordering_key(format!("{call} {key}"))
    };
    (0..count).map(event).collect()
}

/// Copies of an event with different ids.
pub(crate) fn copies(event: &Event, count: usize) -> Vec<Event> {
    let copy = || event.clone().id(EventId::new());
    std::iter::repeat_with(copy).take(count).collect()
}

pub(crate) fn ids(events: &[Event]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

/// Checks that each event was accepted.
#[track_caller]
pub(crate) fn check_all_ok(answers: &[Result<(), PublishError>]) {
    check!(
        answers.iter().all(Result::is_ok),
        "expected Ok for each event, came {answers:?}"
    );
}

/// Checks that each event was answered `Unavailable`.
#[track_caller]
pub(crate) fn check_all_unavailable(answers: &[Result<(), PublishError>]) {
    check!(
        answers.iter().all(is_unavailable),
        "expected Unavailable for each event, came {answers:?}"
    );
}

/// Checks that each event was answered `Ok` or `Unavailable`, so that no event is blamed.
#[track_caller]
pub(crate) fn check_all_innocent(answers: &[Result<(), PublishError>]) {
    check!(
        answers
            .iter()
            .all(|answer| answer.is_ok() || is_unavailable(answer)),
        "expected Ok or Unavailable for each event, came {answers:?}"
    );
}

fn is_unavailable(answer: &Result<(), PublishError>) -> bool {
    let kind = answer.as_ref().map_err(PublishError::kind);
    kind == Err(PublishErrorKind::Unavailable)
}

/// T7: the first event of each key that was not accepted, and its error. Later ones of its key may
/// have any error.
pub(crate) fn first_refusals<'c>(
    events: &'c [Event],
    answers: &'c [Result<(), PublishError>],
) -> impl Iterator<Item = (&'c Event, &'c PublishError)> {
    let mut keys = HashSet::new();
    let is_first = move |(event, _): &(&'c Event, _)| {
        let key = event.ordering_key.as_deref();
        key.is_none_or(|key| keys.insert(key))
    };
    let refused = events.iter().zip(answers);
    let refused = refused.filter_map(|(event, answer)| Some((event, answer.as_ref().err()?)));
    refused.filter(is_first)
}

/// Checks that each event was refused as one whose destination, which the error names, is missing.
#[track_caller]
pub(crate) fn check_all_missing(
    transport: &dyn Transport,
    events: &[Event],
    answers: &[Result<(), PublishError>],
) {
    check_eq!(answers.len(), events.len(), "the number of answers");
    check!(
        answers.iter().all(Result::is_err),
        "expected an error for each event without the destination, came {answers:?}"
    );
    for (event, error) in first_refusals(events, answers) {
        let expected = (
            PublishErrorKind::Misconfigured,
            destination(transport, event),
        );
        check_eq!(
            of_error(error),
            expected,
            "an error without the destination"
        );
    }
}

/// What an error is about.
pub(crate) fn of_error(error: &PublishError) -> (PublishErrorKind, Option<String>) {
    (error.kind(), error.destination().map(str::to_owned))
}

/// The name of the destination of an event.
pub(crate) fn destination(transport: &dyn Transport, event: &Event) -> Option<String> {
    transport.destination(event).map(Cow::into_owned)
}

/// T2, T7: what was answered Ok is at the broker, and no event came before an earlier one of its key.
pub(crate) async fn check_taken<F: TransportFixture>(
    fixture: &F,
    events: &[Event],
    answers: &[Result<(), PublishError>],
) {
    let received = fixture.received().await;
    let mut first = HashMap::new();
    for (place, event) in received.iter().enumerate() {
        first.entry(event.id).or_insert(place);
    }
    let mut last = HashMap::new();
    for (number, (event, answer)) in events.iter().zip(answers).enumerate() {
        let place = first.get(&event.id).copied().unwrap_or(usize::MAX);
        check!(
            answer.is_err() || place != usize::MAX,
            "expected event {number} of the call at the broker after Ok, came {answers:?}"
        );
        let before = last.insert(event.ordering_key.as_deref(), place);
        check!(
            event.ordering_key.is_none() || before.is_none_or(|before| before <= place),
            "expected event {number} of the call to arrive after those of its key, came {:?}",
            ids(&received)
        );
    }
}

/// Publishes again what was not answered Ok. Then all events are at the broker, in order.
pub(crate) async fn check_recovers<F: TransportFixture>(
    fixture: &F,
    transport: &dyn Transport,
    events: &[Event],
    answers: Answers,
) {
    let refused = events.iter().zip(answers);
    let refused = refused.filter_map(|(event, answer)| answer.is_err().then(|| event.clone()));
    let refused: Vec<Event> = refused.collect();
    check_all_ok(&publish(fixture, transport, &refused).await);
    check_taken(fixture, events, &vec![Ok(()); events.len()]).await;
}

/// T8: events that a wrong destination does not take are `Misconfigured`, and others that are in
/// flight at the same time arrive.
pub(crate) async fn check_misconfigured<F: TransportFixture>(fixture: &F, wrong: &Event) {
    let transport = fixture.transport().await;
    let name = destination(&*transport, wrong);
    check!(
        name.is_some(),
        "expected the name of the destination of {}, came none",
        wrong.event_type
    );
    for _again in 0..2 {
        let (refused, others) = (copies(wrong, 3), keyed(&*transport, "others", 6));
        let (answers, beside) = tokio::join!(
            publish(fixture, &*transport, &refused),
            publish(fixture, &*transport, &others)
        );
        check_all_missing(&*transport, &refused, &answers);
        check_all_innocent(&beside);
        check_taken(fixture, &others, &beside).await;
        check_recovers(fixture, &*transport, &others, beside).await;
        let arrived: HashSet<EventId> = ids(&fixture.received().await).into_iter().collect();
        check!(
            refused.iter().all(|event| !arrived.contains(&event.id)),
            "expected no event of the wrong destination at the broker, came {arrived:?}"
        );
    }
}
