//! Appends on a connection that is in no transaction.

use super::{OutsideFixture, appear, commit};
use crate::append::Step::Append;
use crate::check::{check_eq, check_kind};
use crate::store::keyed;
use outbox_core::ErrorKind;

/// A11: with no events, one and several, before and after an append that commits.
pub async fn an_append_outside_of_a_transaction_is_refused<F: OutsideFixture>(fixture: F) {
    let before = fixture.statements().await;
    let (events, kept) = (keyed("outside", 3), keyed("kept", 1));
    let refuse = async || {
        for count in [0, 1, 3] {
            let result = fixture.append_outside(&events[..count]).await;
            check_kind(
                result,
                ErrorKind::Invalid,
                "an append outside of a transaction",
            );
        }
    };
    refuse().await;
    commit(&fixture, &[Append(kept.clone())]).await;
    refuse().await;
    let statements = fixture.statements().await - before;
    check_eq!(statements, 1, "statements for the append in a transaction");
    appear(&fixture, &kept).await;
}
