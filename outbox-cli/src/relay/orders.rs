//! What the process asks of a service while it runs.

use tokio::sync::watch;

/// Gives orders to a service. When it is dropped, the service stops.
#[derive(Debug)]
pub(super) struct Commander(watch::Sender<()>);

/// The orders, as a service receives them.
#[derive(Clone, Debug)]
pub(super) struct Orders(watch::Receiver<()>);

pub(super) fn channel() -> (Commander, Orders) {
    let (sender, receiver) = watch::channel(());
    (Commander(sender), Orders(receiver))
}

impl Commander {
    /// Asks the service to open its destination again.
    pub(super) fn hang_up(&self) {
        self.0.send_replace(());
    }
}

impl Orders {
    /// Returns true at a hangup, and false when the service must stop. Hangups that come together are
    /// one.
    pub(super) async fn hangup(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }

    /// Returns when the service must stop.
    pub(super) async fn stop(&mut self) {
        while self.hangup().await {}
    }
}
