//! Messages published in a pipeline on a channel, and their confirms.

use crate::link::{Health, Lease, Link};
use crate::outgoing::Outgoing;
use lapin::options::BasicPublishOptions;
use lapin::{Confirmation, PublisherConfirm};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

pub(crate) type Outcome = lapin::Result<Confirmation>;

/// Why some messages have no confirm.
#[derive(Debug)]
pub(crate) enum End {
    /// The channel or the connection failed, if not all messages have one.
    Complete,
    Troubled(Health),
    TimedOut,
}

/// What came of messages, in their order. The last ones may not have been sent.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) outcomes: Vec<Option<Outcome>>,
    pub(crate) end: End,
    /// Why a message could not be sent.
    pub(crate) unsent: Option<lapin::Error>,
}

/// Publishes the messages of `batch` one after another, without waiting for confirms between them.
pub(crate) async fn publish(
    link: &Arc<Link>,
    lease: Lease,
    messages: &Arc<[Outgoing]>,
    batch: &[usize],
    options: BasicPublishOptions,
    until: Instant,
) -> Attempt {
    let mut confirms = Confirms::of(lease, Arc::clone(messages), batch.to_vec(), options);
    let end = tokio::select! {
        () = confirms.all() => End::Complete,
        trouble = link.trouble() => End::Troubled(trouble),
        () = sleep_until(until) => End::TimedOut,
    };
    confirms.finish(batch.len(), end).await
}

/// A channel closes before messages that wait to be written to it, and the broker closes the
/// connection for those. So a task writes the messages: if the call is dropped, it first ends the
/// message that it is at.
struct Confirms {
    sending: JoinHandle<(Lease, Option<lapin::Error>)>,
    arriving: UnboundedReceiver<PublisherConfirm>,
    pending: Vec<PublisherConfirm>,
    outcomes: Vec<Option<Outcome>>,
}

impl Confirms {
    fn of(
        lease: Lease,
        messages: Arc<[Outgoing]>,
        batch: Vec<usize>,
        options: BasicPublishOptions,
    ) -> Self {
        let (confirms, arriving) = unbounded_channel();
        Self {
            sending: tokio::spawn(send(lease, messages, batch, options, confirms)),
            arriving,
            pending: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// Waits for the confirms of all messages that are sent. May be dropped and called again.
    async fn all(&mut self) {
        while let Some(confirm) = self.arriving.recv().await {
            self.pending.push(confirm);
        }
        while let Some(confirm) = self.pending.get_mut(self.outcomes.len()) {
            let outcome = confirm.await;
            self.outcomes.push(Some(outcome));
        }
    }

    async fn finish(mut self, count: usize, end: End) -> Attempt {
        let unsent = match end {
            End::Complete => self.end_sending().await,
            _ => None,
        };
        // Which message was returned may be known only from the confirm of another one.
        while let Ok(confirm) = self.arriving.try_recv() {
            self.pending.push(confirm);
        }
        let mut context = Context::from_waker(Waker::noop());
        for confirm in &mut self.pending[self.outcomes.len()..] {
            let outcome = match Pin::new(confirm).poll(&mut context) {
                Poll::Ready(outcome) => Some(outcome),
                Poll::Pending => None,
            };
            self.outcomes.push(outcome);
        }
        self.outcomes.resize_with(count, || None);
        Attempt {
            outcomes: self.outcomes,
            end,
            unsent,
        }
    }

    /// Keeps the channel if it has nothing in flight.
    async fn end_sending(&mut self) -> Option<lapin::Error> {
        let (lease, unsent) = (&mut self.sending).await.ok()?;
        let is_confirmed = |outcome: &Option<Outcome>| matches!(outcome, Some(Ok(_)));
        if unsent.is_none() && self.outcomes.iter().all(is_confirmed) {
            lease.give_back();
        }
        unsent
    }
}

/// Publishes until the call has ended.
async fn send(
    lease: Lease,
    messages: Arc<[Outgoing]>,
    batch: Vec<usize>,
    options: BasicPublishOptions,
    confirms: UnboundedSender<PublisherConfirm>,
) -> (Lease, Option<lapin::Error>) {
    for index in batch {
        let message = &messages[index];
        let publishing = lease.channel.basic_publish(
            message.exchange.clone(),
            message.routing_key.clone(),
            options,
            &message.payload,
            message.properties.clone(),
        );
        match publishing.await.map(|confirm| confirms.send(confirm)) {
            Ok(Ok(())) => {}
            Ok(Err(_)) => break,
            Err(error) => return (lease, Some(error)),
        }
    }
    (lease, None)
}
