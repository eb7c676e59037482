//! The events of one stream in a call, sent in their order.

use crate::Inner;
use crate::entry::{Entry, Size, transaction};
use crate::reply::{Outcome, answer, is_of_the_stream, is_too_large, outcome};
use outbox_core::{Event, OutboxError, PublishError, PublishErrorKind};
use outbox_driver_redis::redis::Cmd;
use std::collections::HashSet;
use tokio::time::{Instant, timeout_at};

/// The most events of a transaction, for which other clients of the server wait.
const MOST_EVENTS: usize = 500;

/// The most bytes of a transaction with more than one event. Any server takes an event of this size:
/// neither of the limits that [`Limits`](crate::limits::Limits) reads can be lower than 1 MiB.
const MOST_BYTES: usize = 512 << 10;

pub(crate) const PUBLISH: &str = "publish";

pub(crate) type Answer = Result<(), PublishError>;

/// Sends the events of one stream, in transactions one after another: T7 forbids to send one before the
/// events ahead of it are accepted.
pub(crate) struct Sending<'c> {
    transport: &'c Inner,
    stream: &'c str,
    destination: &'c str,
    deadline: Instant,
    /// The places in the call and the commands of the next transaction.
    places: Vec<usize>,
    commands: Vec<Cmd>,
    bytes: usize,
    /// Keys of which an event was refused.
    refused: HashSet<&'c str>,
    /// Why no further event is sent.
    stopped: Option<PublishError>,
    answers: Vec<(usize, Answer)>,
}

impl<'c> Sending<'c> {
    pub(crate) fn new(
        transport: &'c Inner,
        stream: &'c str,
        destination: &'c str,
        deadline: Instant,
    ) -> Self {
        Self {
            transport,
            stream,
            destination,
            deadline,
            places: Vec::new(),
            commands: Vec::new(),
            bytes: 0,
            refused: HashSet::new(),
            stopped: None,
            answers: Vec::new(),
        }
    }

    /// Sends events, each with its place in the call, and returns the answer for each place.
    pub(crate) async fn run(mut self, events: &[(usize, &'c Event)]) -> Vec<(usize, Answer)> {
        for &(place, event) in events {
            if let Some(error) = &self.stopped {
                self.answers.push((place, Err(error.clone())));
            } else if self.is_behind_a_refused_one(event) {
                self.answers.push((place, Err(self.behind())));
            } else {
                match self
                    .transport
                    .adding
                    .entry(self.stream, &self.transport.form, event)
                {
                    Ok(entry) => self.add(place, event, entry).await,
                    Err(error) => self.refuse(place, event, error),
                }
            }
        }
        self.flush().await;
        self.answers
    }

    async fn add(&mut self, place: usize, event: &'c Event, entry: Entry) {
        let size = entry.size;
        if self.places.len() == MOST_EVENTS || self.bytes + size.total > MOST_BYTES {
            self.flush().await;
        }
        if let Some(error) = &self.stopped {
            self.answers.push((place, Err(error.clone())));
            return;
        }
        if size.total <= MOST_BYTES {
            self.places.push(place);
            self.commands.push(entry.command);
            self.bytes += size.total;
            return;
        }
        match self.send_alone(entry.command, size).await {
            Err(error) if error.kind() == PublishErrorKind::Permanent => {
                self.refuse(place, event, error);
            }
            answer => self.take(&[place], answer),
        }
    }

    /// Sends what has been gathered.
    async fn flush(&mut self) {
        if self.places.is_empty() {
            return;
        }
        let places = std::mem::take(&mut self.places);
        let commands = std::mem::take(&mut self.commands);
        self.bytes = 0;
        let answer = self.send(commands).await;
        let answer = answer.unwrap_or_else(|error| Err(self.answer(error)));
        self.take(&places, answer);
    }

    /// An event whose size the server may refuse. The server closes the connection then, so it is not
    /// sent if the limits are known.
    async fn send_alone(&self, command: Cmd, size: Size) -> Answer {
        let limits = timeout_at(self.deadline, self.transport.limits()).await;
        let limits = limits
            .map_err(|_| self.late())?
            .map_err(|error| self.answer(error))?;
        if let Some(problem) = limits.problem(size) {
            let error = PublishError::new(PublishErrorKind::Permanent);
            return Err(error
                .with_destination(self.destination)
                .with_source(problem));
        }
        match self.send(vec![command]).await {
            Err(error) if is_too_large(&error) => {
                let answer = PublishError::new(PublishErrorKind::Permanent);
                Err(answer.with_destination(self.destination).with_source(error))
            }
            answer => answer.unwrap_or_else(|error| Err(self.answer(error))),
        }
    }

    async fn send(&self, commands: Vec<Cmd>) -> Result<Answer, OutboxError> {
        let (count, wait) = (commands.len(), self.transport.wait);
        let pipeline = transaction(commands, wait);
        let replicas = wait.map(|wait| wait.replicas);
        let work = async {
            self.transport.permitted().await?;
            let connection = &self.transport.connection;
            let read = |replies| outcome(replies, count, replicas);
            connection.pipeline(PUBLISH, &pipeline, read).await
        };
        let Ok(outcome) = timeout_at(self.deadline, work).await else {
            return Ok(Err(self.late()));
        };
        Ok(match outcome? {
            Outcome::Added => Ok(()),
            Outcome::NoStream => Err(no_stream(self.destination)),
            Outcome::Replicas(found) => {
                let (wanted, limit) = (replicas.unwrap_or_default(), wait.map(|wait| wait.timeout));
                let limit = limit.unwrap_or_default();
                Err(self.unavailable(format!(
                    "{found} of {wanted} replicas have the events after {limit:?}: they are sent again"
                )))
            }
        })
    }

    fn take(&mut self, places: &[usize], answer: Answer) {
        let answers = places.iter().map(|&place| (place, answer.clone()));
        self.answers.extend(answers);
        self.stopped = answer.err();
    }

    fn refuse(&mut self, place: usize, event: &'c Event, error: PublishError) {
        self.refused.extend(event.ordering_key.as_deref());
        self.answers.push((place, Err(error)));
    }

    fn is_behind_a_refused_one(&self, event: &Event) -> bool {
        let key = event.ordering_key.as_deref();
        key.is_some_and(|key| self.refused.contains(key))
    }

    fn behind(&self) -> PublishError {
        self.unavailable("an earlier event of its key was not accepted")
    }

    fn late(&self) -> PublishError {
        let limit = self.transport.call_timeout;
        self.unavailable(format!("no answer within {limit:?}"))
    }

    /// Each node of a cluster fails alone, and so do the streams on it.
    fn unavailable(&self, problem: impl Into<String>) -> PublishError {
        let error = PublishError::new(PublishErrorKind::Unavailable).with_source(problem.into());
        if self.transport.is_cluster {
            return error.with_destination(self.destination);
        }
        error
    }

    fn answer(&self, error: OutboxError) -> PublishError {
        let is_named = self.transport.is_cluster || is_of_the_stream(&error);
        answer(error, is_named.then_some(self.destination))
    }
}

pub(crate) fn no_stream(destination: &str) -> PublishError {
    PublishError::new(PublishErrorKind::Misconfigured)
        .with_destination(destination)
        .with_source("the stream does not exist, and the option create is off")
}
