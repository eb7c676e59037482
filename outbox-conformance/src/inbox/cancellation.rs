//! Calls whose future is dropped at each of its await points in turn.

use super::{CONSUMER, End, InboxFixture, accept, deliver, refuse, some_ids};
use crate::check::{check, check_eq, ok};
use crate::crash::at_each_point;
use outbox_core::EventId;
use std::time::Duration;

const RETENTION: Duration = Duration::from_secs(60);

/// I2, I8: after a dropped delivery the next one does the work, unless the dropped one has committed.
pub async fn the_work_of_a_dropped_delivery_is_done_once<F: InboxFixture>(fixture: F) {
    at_each_point("deliver", async |point| {
        let (inbox, id) = (fixture.handle(CONSUMER).await, EventId::new());
        let answer = point.reach(inbox.deliver(id, End::Commit)).await.map(ok);
        check!(
            answer != Some(false),
            "{point:?}: expected the first delivery to be accepted, came a refusal"
        );
        // On another handle: the first may still hold what blocks others.
        let other = fixture.handle(CONSUMER).await;
        let again = deliver(&*other, id).await;
        check!(
            !again || answer.is_none(),
            "{point:?}: expected one acceptance, came two"
        );
        check_eq!(
            fixture.work(CONSUMER, id).await,
            1,
            "{point:?}: work of the event"
        );
        refuse(&*inbox, id, "after a dropped delivery").await;
        answer.is_some()
    })
    .await;
}

/// I7, I8: a dropped clean-up forgets no young event, and blocks no later call.
pub async fn a_dropped_clean_up_keeps_younger_events<F: InboxFixture>(fixture: F) {
    let inbox = fixture.handle(CONSUMER).await;
    at_each_point("clean_up", async |point| {
        let (old, young) = (some_ids(3), some_ids(1));
        accept(&*inbox, &old).await;
        fixture.elapse(RETENTION * 2).await;
        accept(&*inbox, &young).await;
        let cleaning = inbox.clean_up(RETENTION, 1000);
        let done = point.reach(cleaning).await.map(ok);
        refuse(&*inbox, young[0], "a young event after a dropped clean-up").await;
        let rest = ok(inbox.clean_up(RETENTION, 1000).await);
        check!(
            done.is_none() || rest == 0,
            "{point:?}: expected all 3 events forgotten, came {done:?}, then {rest}"
        );
        done.is_some()
    })
    .await;
}
