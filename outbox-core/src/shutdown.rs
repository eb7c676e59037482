//! How a run loop learns that it shall end.

use std::future::pending;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep_until};

/// Ends the loops that hold the matching [`Stop`].
#[derive(Debug)]
pub(crate) struct Stopper(watch::Sender<Option<Instant>>);

/// Tells a loop to end, and since when its grace time is over.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<Option<Instant>>);

pub(crate) fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(None);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Asks the loops to end; work under way may go on for `grace`. The first call counts.
    pub(crate) fn stop(&self, grace: Duration) {
        self.0.send_if_modified(|deadline| {
            let first = deadline.is_none();
            deadline.get_or_insert_with(|| Instant::now() + grace);
            first
        });
    }
}

impl Stop {
    /// A loop that nobody stops.
    pub(crate) fn never() -> Self {
        channel().1
    }

    pub(crate) fn requested(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Returns when the loop shall end.
    pub(crate) async fn wait(&mut self) {
        self.deadline().await;
    }

    /// Returns when work under way must be given up.
    pub(crate) async fn grace_over(&mut self) {
        let deadline = self.deadline().await;
        sleep_until(deadline).await;
    }

    async fn deadline(&mut self) -> Instant {
        match self
            .0
            .wait_for(Option::is_some)
            .await
            .map(|deadline| *deadline)
        {
            Ok(Some(deadline)) => deadline,
            // The stopper is gone: nobody will ask any more.
            Ok(None) | Err(_) => pending().await,
        }
    }
}
