//! Callers that go away: a future is dropped at each of its await points in turn.

use crate::case::progress;
use crate::check::{check, refuse};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use tokio::time::{Duration, timeout};

/// More await points than a call or a pass has.
const MOST: usize = 1000;

/// A round that takes longer waits for a lock that a dropped call still holds.
pub(crate) const STUCK: Duration = Duration::from_secs(60);

/// Where a caller goes away: an await point of a future. See [`at_each_point`].
#[derive(Clone, Copy, Debug)]
pub struct CrashPoint {
    /// How often the future has had to wait. With none it is dropped before it starts.
    waits: usize,
    /// At the end of the last wait, when an answer may have come that no caller reads; otherwise at
    /// its start.
    answered: bool,
}

impl CrashPoint {
    /// Drops the future at this point; the output if it ends before.
    pub async fn reach<F: Future>(self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut waits = self.waits;
        poll_fn(|context| {
            if waits == 0 {
                return Poll::Ready(None);
            }
            let Poll::Ready(output) = future.as_mut().poll(context) else {
                waits -= 1;
                if waits == 0 && !self.answered {
                    return Poll::Ready(None);
                }
                return Poll::Pending;
            };
            Poll::Ready(Some(output))
        })
        .await
    }
}

/// Plays a round for each await point of a future, until the future ends before it is dropped,
/// which is what a round returns. For tests of calls that no suite has:
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// # async fn call() { tokio::task::yield_now().await }
/// outbox_conformance::at_each_point("call", async |point| {
///     let ended = point.reach(call()).await.is_some();
///     // Look here whether it was applied as a whole or not at all, and make the next call.
///     ended
/// })
/// .await;
/// # });
/// ```
///
/// It prints the number of points under `name`. A round that takes longer than a minute is stuck
/// and panics.
///
/// How often a future waits depends on its driver and differs between runs, so the points are
/// counted during the run, and a future that ended early is tried again.
pub async fn at_each_point(name: &str, mut round: impl AsyncFnMut(CrashPoint) -> bool) {
    let mut points = 0;
    for answered in [false, true] {
        // Before the first wait there is nothing to answer.
        let (mut waits, mut ends) = (usize::from(answered), 0);
        while ends < 3 {
            check!(
                waits < MOST,
                "expected {name} to wait up to {MOST} times, came more"
            );
            let point = CrashPoint { waits, answered };
            let ended = timeout(STUCK, round(point)).await;
            let ended = ended.unwrap_or_else(|_| {
                refuse!("{name}, dropped at {point:?}: expected later calls to end, came none within {STUCK:?}")
            });
            if ended {
                ends += 1;
            } else {
                (waits, ends) = (waits + 1, 0);
                points += 1;
                progress!("{name}: dropped at {points} points");
            }
        }
    }
    println!("{name}: dropped at {points} points");
}
