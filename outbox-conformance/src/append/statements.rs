//! How many statements an append is.

use super::{AppendFixture, Step::Append, commit};
use crate::check::check_eq;
use crate::store::keyed;

/// A6: one event, a few and many are one statement each.
pub async fn an_append_is_one_statement<F: AppendFixture>(fixture: F) {
    for count in [1, 2, 100] {
        let before = fixture.statements().await;
        let events = keyed(&format!("of {count}"), count);
        commit(&fixture, &[Append(events)]).await;
        let statements = fixture.statements().await - before;
        check_eq!(statements, 1, "statements for {count} events");
    }
}
