//! Calls whose future is dropped at each of its await points in turn.

use super::{RegistryFixture, hosts, report};
use crate::check::{check, ok};
use crate::crash::at_each_point;

/// R8: a dropped call is applied or not, and the handle works.
pub async fn a_dropped_report_or_withdrawal_is_applied_or_not<F: RegistryFixture>(fixture: F) {
    at_each_point("report", async |point| {
        let (store, written) = (fixture.observed().await, report("host"));
        let done = point.reach(store.report(&written)).await.map(ok);
        fixture.end_abandoned_calls().await;
        let shown = hosts(&store).await.len();
        check!(
            shown == 1 || shown == 0 && done.is_none(),
            "{point:?}: expected the relay or none, came {shown}"
        );
        ok(store.report(&written).await);
        let done = point.reach(store.withdraw(written.id)).await.map(ok);
        fixture.end_abandoned_calls().await;
        let shown = hosts(&store).await.len();
        check!(
            shown == 0 || shown == 1 && done.is_none(),
            "{point:?}: expected the relay or none, came {shown}"
        );
        ok(store.withdraw(written.id).await);
        check!(
            hosts(&store).await.is_empty(),
            "{point:?}: expected no relay after a withdrawal"
        );
        done.is_some()
    })
    .await;
}
