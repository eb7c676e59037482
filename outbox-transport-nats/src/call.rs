//! One call of `publish`: sends all messages, then waits for their acknowledgments.

use crate::absence::SETTLED;
use crate::connection::{Connection, unavailable};
use crate::error::{Failure, failure};
use crate::lookup::Lookup;
use crate::refusal::Refusal;
use crate::{Inner, Prepared};
use async_nats::Subject;
use async_nats::jetstream::context::PublishError as DriverError;
use async_nats::jetstream::publish::PublishAck;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use outbox_core::{Event, PublishError, PublishErrorKind};
use std::error::Error;
use std::sync::atomic::Ordering;
use tokio::time::{Instant, sleep_until, timeout_at};

const NO_ANSWER: &str = "no answer";

type Answer = Result<(), PublishError>;

pub(crate) struct Call<'c> {
    inner: &'c Inner,
    events: &'c [Event],
    answers: Vec<Option<Answer>>,
    /// How many answers are missing.
    open: usize,
    /// Events whose messages have no responders, with the driver's error.
    untaken: Vec<(usize, DriverError)>,
}

impl<'c> Call<'c> {
    pub(crate) fn new(inner: &'c Inner, events: &'c [Event]) -> Self {
        Self {
            inner,
            events,
            answers: vec![None; events.len()],
            open: events.len(),
            untaken: Vec::new(),
        }
    }

    /// One answer for each event. The call timeout starts when the messages are made.
    pub(crate) async fn run(mut self) -> Vec<Answer> {
        let prepared = self.prepare();
        if prepared.is_empty() {
            return self.finish(&unavailable(NO_ANSWER));
        }
        let limit = self.inner.call_timeout;
        let deadline = Instant::now() + limit;
        let connected = timeout_at(deadline, self.inner.connections.connection()).await;
        let late = unavailable(format!("no connection within {limit:?}"));
        let connection = match connected.unwrap_or_else(|_| Err(late.clone())) {
            Ok(connection) => connection,
            Err(error) => return self.finish(&error),
        };
        // The rest of the time is for the lookup that explains a missing acknowledgment.
        let wait = deadline - (limit / 5).min(SETTLED);
        if Instant::now() >= wait {
            return self.finish(&late);
        }
        let subjects = self.send(&connection, prepared, wait).await;
        self.explain(&connection, &subjects, deadline).await;
        if !connection.absences.is_empty() {
            for event in self.taken() {
                connection.absences.forget(&self.inner.destination(event));
            }
        }
        self.finish(&unavailable(NO_ANSWER))
    }

    /// The messages of the events that have one.
    fn prepare(&mut self) -> Vec<(usize, Prepared)> {
        let mut prepared = Vec::with_capacity(self.events.len());
        for (number, event) in self.events.iter().enumerate() {
            match self.inner.prepare(event) {
                Ok(message) => prepared.push((number, message)),
                Err(error) => self.answer(number, Err(error)),
            }
        }
        prepared
    }

    /// Sends the messages, and takes the answers that come until `deadline`. Returns the subjects.
    async fn send(
        &mut self,
        connection: &Connection,
        prepared: Vec<(usize, Prepared)>,
        deadline: Instant,
    ) -> Vec<(usize, Subject)> {
        let subject = |(number, prepared): &(usize, Prepared)| (*number, prepared.subject.clone());
        let subjects: Vec<_> = prepared.iter().map(subject).collect();
        let mut refusals = connection.refusals();
        let send =
            |(number, prepared)| async move { (number, publish(connection, prepared).await) };
        let mut acks: FuturesUnordered<_> = prepared.into_iter().map(send).collect();
        let mut end = std::pin::pin!(sleep_until(deadline));
        while self.open > self.untaken.len() {
            tokio::select! {
                biased;
                refusal = refusals.recv() => {
                    // If the receiver missed the refusal of one of these events, the event times out.
                    if let Ok(refusal) = refusal {
                        self.refuse(&subjects, &refusal);
                    }
                }
                Some((number, ack)) = acks.next() => self.take(connection, number, ack),
                () = &mut end => break,
            }
        }
        subjects
    }

    fn take(
        &mut self,
        connection: &Connection,
        number: usize,
        ack: Result<PublishAck, DriverError>,
    ) {
        let error = match ack {
            Ok(ack) => {
                if ack.duplicate {
                    self.inner.duplicates.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(id = %self.events[number].id, "the stream already had the event");
                }
                return self.answer(number, Ok(()));
            }
            Err(error) => error,
        };
        match failure(&error, connection.is_alive()) {
            Failure::Known(kind, true) => {
                let error = self.error(number, kind, error);
                self.answer(number, Err(error));
            }
            Failure::Known(kind, false) => {
                let error = PublishError::new(kind).with_source(error);
                self.answer(number, Err(error));
            }
            Failure::NoResponders if self.answers[number].is_none() => {
                self.untaken.push((number, error));
            }
            Failure::NoResponders | Failure::Silence => {}
        }
    }

    /// The server does not answer a message that it refuses for lack of a right.
    fn refuse(&mut self, subjects: &[(usize, Subject)], refusal: &Refusal) {
        for (number, subject) in subjects {
            let error = match refusal {
                Refusal::Publish {
                    subject: refused,
                    text,
                } if **subject == **refused => {
                    self.error(*number, PublishErrorKind::Misconfigured, text.clone())
                }
                Refusal::Publish { .. } => continue,
                Refusal::Inbox(text) => {
                    PublishError::new(PublishErrorKind::Misconfigured).with_source(text.clone())
                }
            };
            self.answer(*number, Err(error));
        }
    }

    /// Answers for the events whose messages have no responders, and for those without an answer.
    async fn explain(
        &mut self,
        connection: &Connection,
        subjects: &[(usize, Subject)],
        deadline: Instant,
    ) {
        let is_open = |(number, _): &&(usize, Subject)| self.answers[*number].is_none();
        let Some((_, subject)) = subjects.iter().find(is_open) else {
            return;
        };
        let lookup = if connection.is_alive() {
            connection.look(subject, deadline).await
        } else {
            Lookup::Silent
        };
        for (number, error) in std::mem::take(&mut self.untaken) {
            let error = self.untaken_error(connection, number, &lookup, error);
            self.answer(number, Err(error));
        }
        for (number, _) in subjects {
            if self.answers[*number].is_none() {
                let error = self.silence_error(*number, &lookup);
                self.answer(*number, Err(error));
            }
        }
    }

    fn untaken_error(
        &self,
        connection: &Connection,
        number: usize,
        lookup: &Lookup,
        error: DriverError,
    ) -> PublishError {
        match lookup {
            Lookup::Missing => self.error(number, PublishErrorKind::Misconfigured, error),
            Lookup::Found(stream) => {
                let problem = format!("stream {stream} has no leader at the moment");
                self.error(number, PublishErrorKind::Unavailable, problem)
            }
            Lookup::Unknown(_) | Lookup::Silent => {
                let destination = self.inner.destination(&self.events[number]);
                let kind = if connection.absences.is_lasting(&destination, Instant::now()) {
                    PublishErrorKind::Misconfigured
                } else {
                    PublishErrorKind::Unavailable
                };
                self.error(number, kind, error)
            }
        }
    }

    fn silence_error(&self, number: usize, lookup: &Lookup) -> PublishError {
        let limit = self.inner.call_timeout;
        match lookup {
            Lookup::Missing => {
                let problem = "no stream has the subject, but another program subscribes to it";
                self.error(number, PublishErrorKind::Misconfigured, problem)
            }
            Lookup::Found(stream) => {
                let problem = format!("no acknowledgment of the stream {stream} within {limit:?}");
                self.error(number, PublishErrorKind::Unavailable, problem)
            }
            Lookup::Unknown(_) => {
                let problem = format!("no acknowledgment within {limit:?}");
                self.error(number, PublishErrorKind::Unavailable, problem)
            }
            Lookup::Silent => unavailable(format!("no answer of the server within {limit:?}")),
        }
    }

    /// An error about the destination of an event.
    fn error(
        &self,
        number: usize,
        kind: PublishErrorKind,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> PublishError {
        let destination = self.inner.destination(&self.events[number]);
        let error = PublishError::new(kind).with_source(source);
        error.with_destination(&*destination)
    }

    /// The first answer to an event counts.
    fn answer(&mut self, number: usize, answer: Answer) {
        let place = &mut self.answers[number];
        if place.is_none() {
            *place = Some(answer);
            self.open -= 1;
        }
    }

    fn taken(&self) -> impl Iterator<Item = &Event> {
        let answered = self.events.iter().zip(&self.answers);
        answered.filter_map(|(event, answer)| matches!(answer, Some(Ok(()))).then_some(event))
    }

    /// The answers, with `rest` for the events that have none.
    fn finish(self, rest: &PublishError) -> Vec<Answer> {
        let answers = self.answers.into_iter();
        let answered = |answer: Option<Answer>| answer.unwrap_or_else(|| Err(rest.clone()));
        answers.map(answered).collect()
    }
}

/// The answer of the stream to a message.
async fn publish(connection: &Connection, prepared: Prepared) -> Result<PublishAck, DriverError> {
    let Prepared { subject, message } = prepared;
    let sent = connection.jetstream.send_publish(subject, message).await?;
    sent.await
}
