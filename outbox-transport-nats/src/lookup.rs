//! Asks the server which stream takes a subject.

use crate::absence::SETTLED;
use crate::connection::Connection;
use crate::refusal::Refusal;
use async_nats::jetstream::context::{GetStreamByNameError, GetStreamByNameErrorKind};
use std::error::Error;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until, timeout_at};

/// What the server says of a subject.
pub(crate) enum Lookup {
    /// No stream takes it.
    Missing,
    /// The stream of this name takes it.
    Found(String),
    /// The server may not be asked, or does not know it.
    Unknown(Box<dyn Error + Send + Sync>),
    /// Nothing came.
    Silent,
}

impl Connection {
    /// Looks for the stream of a subject until `deadline`. While the connection is young, it looks
    /// again for a stream that is missing.
    pub(crate) async fn look(&self, subject: &str, deadline: Instant) -> Lookup {
        loop {
            let answer = timeout_at(deadline, self.ask(subject)).await;
            let Ok(answer) = answer else {
                return Lookup::Silent;
            };
            match answer {
                Lookup::Missing if self.since.elapsed() < SETTLED => {
                    let settled = self.since + SETTLED;
                    if settled >= deadline {
                        return Lookup::Unknown("server has just started".into());
                    }
                    sleep_until(settled).await;
                }
                answer => return answer,
            }
        }
    }

    async fn ask(&self, subject: &str) -> Lookup {
        let answered = |found: Result<String, GetStreamByNameError>| match found {
            Ok(name) => Lookup::Found(name),
            Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => Lookup::Missing,
            Err(error) => Lookup::Unknown(error.into()),
        };
        let refused = self.refused_request();
        tokio::select! {
            found = self.jetstream.stream_by_subject(subject) => answered(found),
            text = refused => Lookup::Unknown(text.into()),
        }
    }

    /// Until the server refuses a request to JetStream. A refusal counts from this call on, not from the first poll
    /// of the future, so a request that is sent afterwards cannot be refused unheard.
    pub(crate) fn refused_request(&self) -> impl Future<Output = String> + Send + use<> {
        refused(self.refusals())
    }
}

async fn refused(mut refusals: Receiver<Refusal>) -> String {
    loop {
        match refusals.recv().await {
            Ok(Refusal::Publish { subject, text }) if subject.starts_with("$JS.") => return text,
            Ok(Refusal::Inbox(text)) => return text,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::broadcast;

    #[tokio::test]
    async fn a_refusal_before_the_first_poll_is_heard() {
        let (sender, _) = broadcast::channel(4);
        let answer = refused(sender.subscribe());
        let sent = sender.send(Refusal::Inbox("not allowed".to_owned()));
        assert!(sent.is_ok(), "nobody listens");
        assert_eq!(answer.await, "not allowed");
    }
}
