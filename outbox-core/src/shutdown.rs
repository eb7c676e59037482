//! Shutdown of the run loops, with a grace time.

use std::future::pending;
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep_until};

/// Ends the loops that hold the matching [`Stop`].
#[derive(Debug)]
pub(crate) struct Stopper(watch::Sender<Option<Instant>>);

/// Signals a loop to end, and the end of its grace time.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<Option<Instant>>);

pub(crate) fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(None);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// Asks the loops to end. Running work may continue for `grace`. Only the first call has an effect.
    pub(crate) fn stop(&self, grace: Duration) {
        self.0.send_if_modified(|deadline| {
            let first = deadline.is_none();
            deadline.get_or_insert_with(|| Instant::now() + grace);
            first
        });
    }
}

impl Stop {
    /// A signal that never comes.
    pub(crate) fn never() -> Self {
        channel().1
    }

    pub(crate) fn requested(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Returns when the loop must end.
    pub(crate) async fn wait(&mut self) {
        self.deadline().await;
    }

    /// Returns when running work must be cancelled.
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
            // The stopper was dropped, so no shutdown will come.
            Ok(None) | Err(_) => pending().await,
        }
    }
}
