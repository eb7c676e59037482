//! Appends that are refused.

use super::Step::{Append, RollBackToSavepoint, Savepoint};
use super::{AppendFixture, End, appear, commit, refused, transact};
use crate::check::{check, check_eq, check_kind, ok};
use crate::store::keyed;
use outbox_core::{ErrorKind, Event};
use std::error::Error;

/// A4: an id is taken by the same append, by the same transaction, and by a committed event.
pub async fn a_taken_id_is_a_duplicate<F: AppendFixture>(fixture: F) {
    duplicates(&fixture, |of| Event::new("conformance", "again").id(of.id)).await;
}

/// A4: a token is taken by the same append, by the same transaction, and by a committed event.
pub async fn a_taken_token_is_a_duplicate<F: AppendFixture>(fixture: F) {
    duplicates(&fixture, |_| {
        Event::new("conformance", "again").idempotency_token("once")
    })
    .await;
}

async fn duplicates<F: AppendFixture>(fixture: &F, copy: impl Fn(&Event) -> Event) {
    let mut first = keyed("first", 1).remove(0);
    first.idempotency_token = Some("once".to_owned());
    let beside = || Event::new("conformance", "beside");
    let is_duplicate = |what, error| check_kind::<()>(Err(error), ErrorKind::Duplicate, what);
    let error = refused(fixture, &[first.clone(), beside(), copy(&first)]).await;
    is_duplicate("an append with two alike", error);
    let steps = [first.clone(), copy(&first)].map(|event| Append(vec![event]));
    let mut results = transact(fixture, &steps, End::RollBack).await;
    let last = results.pop();
    check_kind(
        last.unwrap_or(Ok(())),
        ErrorKind::Duplicate,
        "an append of what the transaction has",
    );
    results.into_iter().for_each(ok);
    commit(fixture, &[Append(vec![first.clone()])]).await;
    let error = refused(fixture, &[copy(&first)]).await;
    is_duplicate("an append of one that is taken", error);
    let error = refused(fixture, &[beside(), copy(&first), beside()]).await;
    is_duplicate("an append of several, one of them taken", error);
    appear(fixture, &[first]).await;
}

/// A3, A5: after a rollback to the savepoint, later appends of the transaction commit.
pub async fn a_transaction_continues_after_a_refusal<F: AppendFixture>(fixture: F) {
    let events = keyed("continued", 4);
    commit(&fixture, &[Append(events[..1].to_vec())]).await;
    let steps = [
        Append(events[1..2].to_vec()),
        Savepoint,
        Append(vec![Event::new("conformance", "beside"), events[0].clone()]),
        RollBackToSavepoint,
        Append(events[2..].to_vec()),
    ];
    let results = transact(&fixture, &steps, End::Commit).await;
    for (number, result) in results.into_iter().enumerate() {
        match number {
            1 => check_kind(result, ErrorKind::Duplicate, "an append of a taken id"),
            _ => ok(result),
        }
    }
    appear(&fixture, &events).await;
}

/// A8: an invalid event, alone and in a batch, reaches no table and costs no transaction.
pub async fn an_invalid_event_is_refused_before_anything_is_sent<F: AppendFixture>(fixture: F) {
    let before = fixture.statements().await;
    let (valid, invalid) = (keyed("valid", 1), Event::new("", "no type"));
    let with_nul = Event::new("conformance", "").header("name", "a\0b");
    let steps = [
        Append(vec![invalid.clone()]),
        Append(vec![valid[0].clone(), invalid]),
        Append(vec![with_nul, valid[0].clone()]),
        Append(valid.clone()),
    ];
    let mut results = transact(&fixture, &steps, End::Commit).await;
    let last = results.pop();
    for result in results {
        check_kind(result, ErrorKind::Invalid, "an append of an invalid event");
    }
    ok(last.unwrap_or(Ok(())));
    let statements = fixture.statements().await - before;
    check_eq!(
        statements,
        1,
        "statements for one valid event of four appends"
    );
    appear(&fixture, &valid).await;
}

/// A9: for one event and for several.
pub async fn without_tables_an_append_says_how_to_migrate<F: AppendFixture>(fixture: F) {
    fixture.remove_tables().await;
    for count in [1, 2] {
        let error = refused(&fixture, &keyed("homeless", count)).await;
        let text = error.to_string();
        check_kind::<()>(Err(error), ErrorKind::Invalid, "an append without tables");
        check!(
            text.contains("migrate"),
            "expected an error that says how to migrate, came {text}"
        );
    }
}

/// A10: the source is kept for a taken id, and for missing tables.
pub async fn a_refusal_keeps_the_error_of_the_driver<F: AppendFixture>(fixture: F) {
    let events = keyed("sourced", 2);
    commit(&fixture, &[Append(events.clone())]).await;
    let taken = refused(&fixture, &events[..1]).await;
    fixture.remove_tables().await;
    let homeless = refused(&fixture, &events).await;
    for (what, error) in [("a duplicate", taken), ("missing tables", homeless)] {
        check!(
            error.source().is_some(),
            "expected the error of the driver as the source for {what}, came none: {error}"
        );
    }
}
