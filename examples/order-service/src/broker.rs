//! A channel in place of a broker: each delivery waits for the consumer's answer.

use outbox_core::{Event, PublishError, PublishErrorKind, Transport};
use tokio::sync::{mpsc, oneshot};

/// An event on its way to the consumer, who answers through `done`.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) event: Event,
    pub(crate) done: oneshot::Sender<Result<(), PublishError>>,
}

/// The publisher's and the consumer's end.
pub(crate) fn channel() -> (Channel, mpsc::Receiver<Delivery>) {
    let (sender, receiver) = mpsc::channel(64);
    (Channel(sender), receiver)
}

/// The publisher's end.
#[derive(Debug)]
pub(crate) struct Channel(mpsc::Sender<Delivery>);

#[async_trait::async_trait]
impl Transport for Channel {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let mut results = Vec::with_capacity(events.len());
        for event in events {
            results.push(self.deliver(event.clone()).await);
        }
        results
    }
}

impl Channel {
    async fn deliver(&self, event: Event) -> Result<(), PublishError> {
        let unavailable = |_| PublishError::new(PublishErrorKind::Unavailable);
        let (done, answer) = oneshot::channel();
        let sent = self.0.send(Delivery { event, done }).await;
        sent.map_err(|_| PublishError::new(PublishErrorKind::Unavailable))?;
        answer.await.map_err(unavailable)?
    }
}
