//! One call: its records, and the answer to each of them.

use crate::KafkaConfig;
use crate::error::{Meaning, meaning};
use crate::producer::{Current, Producer, topic_error};
use crate::record::Record;
use crate::round::{Round, Sending};
use outbox_core::{Event, PublishError, PublishErrorKind};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::Metadata;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::time::Instant;

/// How often a call continues on another producer although the one before it gave no answer: one ends
/// also because of the events of other calls.
const IDLE_ROUNDS: u32 = 3;

pub(crate) type Answer = Result<(), PublishError>;

/// The events of a call, and the answers so far.
pub(crate) struct Call<'c> {
    config: &'c KafkaConfig,
    current: &'c Current,
    events: &'c [Event],
    records: Vec<Option<Record<'c>>>,
    answers: Vec<Option<Answer>>,
    until: Instant,
}

/// What a call knows of the producer that it uses.
#[derive(Default)]
struct Known<'c> {
    producer: Option<Arc<Producer>>,
    /// The keys of which it has delivered an event of the call.
    keys: HashSet<&'c str>,
    /// Whether each batch has one message.
    is_single: bool,
}

impl Known<'_> {
    fn continue_with(&mut self, producer: &Arc<Producer>) {
        let last = self.producer.replace(Arc::clone(producer));
        if last.is_none_or(|last| !Arc::ptr_eq(&last, producer)) {
            self.keys.clear();
        }
    }
}

/// What must be found out before an event has its answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unclear {
    /// Which message of a batch was refused.
    Message,
    /// Whether the topic of this event is there by now.
    Topic(usize),
}

impl<'c> Call<'c> {
    pub(crate) fn new(config: &'c KafkaConfig, current: &'c Current, events: &'c [Event]) -> Self {
        let mut answers = vec![None; events.len()];
        let written = events.iter().zip(&mut answers).map(|(event, answer)| {
            let record = Record::new(config, event);
            record.map_err(|error| *answer = Some(Err(error))).ok()
        });
        let records = written.collect();
        Self {
            config,
            current,
            events,
            records,
            answers,
            until: Instant::now() + config.call_timeout,
        }
    }

    /// Sends all events to a producer. Those that get no answer because the producer ends are sent to
    /// another one.
    pub(crate) async fn run(mut self) -> Vec<Answer> {
        let mut idle = 0;
        let mut known = Known::default();
        loop {
            self.refuse_successors();
            let open = self.open();
            if open.is_empty() {
                break;
            }
            let producer = match self.producer(&known) {
                Ok(producer) => producer,
                Err(error) => {
                    self.refuse(&error);
                    break;
                }
            };
            known.continue_with(&producer);
            let wave = self.wave(&open, &known);
            let sending = Sending {
                current: self.current,
                producer: &producer,
                records: &self.records,
                until: self.until,
            };
            let round = sending.run(&wave).await;
            let unclear = self.judge(&producer, &wave, &round);
            if let Some(Unclear::Topic(place)) = unclear {
                self.look_up(&producer, place).await;
            }
            let is_first = unclear == Some(Unclear::Message) && !known.is_single;
            known.is_single |= is_first;
            let answered = self.open().len() < open.len();
            idle = if answered || is_first { 0 } else { idle + 1 };
            known.keys.extend(self.accepted(&wave));
            if idle == IDLE_ROUNDS || Instant::now() >= self.until {
                self.give_up(&producer);
                break;
            }
        }
        let missing = || Err(PublishError::new(PublishErrorKind::Unavailable));
        let answers = self.answers.into_iter();
        answers
            .map(|answer| answer.unwrap_or_else(missing))
            .collect()
    }

    /// The places of the events without an answer.
    fn open(&self) -> Vec<usize> {
        let places = 0..self.answers.len();
        places
            .filter(|&place| self.answers[place].is_none())
            .collect()
    }

    /// A broker refuses a batch and does not say which of its messages it means. So then each message
    /// gets a separate batch, by a producer that other calls do not wait for.
    fn producer(&self, known: &Known<'_>) -> Result<Arc<Producer>, PublishError> {
        if !known.is_single {
            return self.current.get(self.config);
        }
        let last = known.producer.as_ref();
        match last.filter(|producer| producer.is_of_single_messages() && producer.is_usable()) {
            Some(producer) => Ok(Arc::clone(producer)),
            None => Producer::of_single_messages(self.config).map(Arc::new),
        }
    }

    /// T7: the first event of each key alone, until the producer has delivered one of the key. Then the
    /// broker knows the producer on the partition of the key, and takes no batch behind one that it refused.
    /// If it does not know it, it takes any. Single messages are sent one by one for each key.
    fn wave(&self, open: &[usize], known: &Known<'c>) -> Vec<usize> {
        let mut first = HashSet::new();
        let is_sent = |place: &&usize| match self.key(**place) {
            None => true,
            Some(key) if !known.is_single && known.keys.contains(key) => true,
            Some(key) => first.insert(key),
        };
        open.iter().filter(is_sent).copied().collect()
    }

    fn accepted(&self, places: &[usize]) -> impl Iterator<Item = &'c str> {
        let is_accepted = |place: &&usize| matches!(self.answers[**place], Some(Ok(())));
        let places = places.iter().filter(is_accepted);
        let keys: Vec<&str> = places.filter_map(|&place| self.key(place)).collect();
        keys.into_iter()
    }

    fn key(&self, place: usize) -> Option<&'c str> {
        self.events[place].ordering_key.as_deref()
    }

    /// Takes the answers from a round.
    fn judge(
        &mut self,
        producer: &Arc<Producer>,
        open: &[usize],
        round: &Round,
    ) -> Option<Unclear> {
        let mut unclear = None;
        for &place in open {
            match round.reports[place] {
                Some(Ok(())) => self.answers[place] = Some(Ok(())),
                Some(Err(code)) => {
                    let is_stale = !round.sent[place] && meaning(code) == Meaning::Topic;
                    let found = if is_stale {
                        Some(Unclear::Topic(place))
                    } else {
                        self.judge_error(producer, place, code)
                    };
                    unclear = unclear.or(found);
                }
                None => {}
            }
        }
        if let Some(error) = &round.trouble {
            self.refuse(error);
        }
        for place in self.open() {
            if round.sent[place] && round.reports[place].is_none() {
                self.answers[place] = Some(Err(self.late(place)));
            }
        }
        if let Some((code, words)) = producer.fatal() {
            self.current.retire(producer);
            if meaning(code) == Meaning::Cluster {
                let error = PublishError::new(PublishErrorKind::Misconfigured);
                self.refuse(&error.with_source(words));
            }
        }
        unclear
    }

    fn judge_error(
        &mut self,
        producer: &Arc<Producer>,
        place: usize,
        code: Code,
    ) -> Option<Unclear> {
        let meaning = meaning(code);
        if meaning != Meaning::Topic {
            self.current.retire(producer);
        }
        let kind = match meaning {
            Meaning::Ended => return None,
            Meaning::Message(_) if !producer.is_of_single_messages() => {
                return Some(Unclear::Message);
            }
            Meaning::Message(kind) => kind,
            Meaning::Topic => {
                self.refuse_topic(place, code);
                return None;
            }
            Meaning::Cluster => {
                self.answers[place] = Some(Err(error(PublishErrorKind::Misconfigured, code)));
                return None;
            }
            Meaning::Unavailable => PublishErrorKind::Unavailable,
        };
        let error = error(kind, code).with_destination(self.destination(place));
        self.answers[place] = Some(Err(error));
        None
    }

    /// A producer remembers that a topic is missing. So the cluster is asked, and the producer learns it too.
    async fn look_up(&mut self, producer: &Producer, place: usize) {
        let Some(record) = &self.records[place] else {
            return;
        };
        let name = record.topic.clone().into_owned();
        let limit = self.until.saturating_duration_since(Instant::now());
        let read = move |metadata: &Metadata| topic_error(metadata, &name);
        if let Ok(Some(code)) = producer.metadata(Some(&record.topic), limit, read).await
            && meaning(code) == Meaning::Topic
        {
            self.refuse_topic(place, code);
        }
    }

    /// All events of the topic get the same answer, so that none of a key passes another.
    fn refuse_topic(&mut self, place: usize, code: Code) {
        let topic = |place: usize| self.records[place].as_ref().map(|record| &record.topic);
        let of_topic = |other: &usize| topic(*other) == topic(place);
        let places: Vec<usize> = self.open().into_iter().filter(of_topic).collect();
        for other in places {
            let error = error(PublishErrorKind::Misconfigured, code);
            self.answers[other] = Some(Err(error.with_destination(self.destination(other))));
        }
    }

    /// The answer to all events that have none.
    fn refuse(&mut self, error: &PublishError) {
        for answer in self.answers.iter_mut().filter(|answer| answer.is_none()) {
            *answer = Some(Err(error.clone()));
        }
    }

    /// T7: behind an event that was not accepted, none of its key is sent.
    fn refuse_successors(&mut self) {
        let mut refused = HashSet::new();
        for place in 0..self.events.len() {
            let Some(key) = self.key(place) else {
                continue;
            };
            match &self.answers[place] {
                Some(Err(_)) => {
                    refused.insert(key);
                }
                None if refused.contains(key) => {
                    let error = PublishError::new(PublishErrorKind::Unavailable);
                    let error = error.with_destination(self.destination(place));
                    let why = "an earlier event of its key was not accepted";
                    self.answers[place] = Some(Err(error.with_source(why)));
                }
                _ => {}
            }
        }
    }

    fn give_up(&mut self, producer: &Producer) {
        let words = producer.fatal().map(|(_, words)| words);
        let ended = || format!("{IDLE_ROUNDS} producers ended before the event had a report");
        let words = words.unwrap_or_else(ended);
        let ended = PublishError::new(PublishErrorKind::Unavailable).with_source(words);
        let is_late = Instant::now() >= self.until;
        for place in self.open() {
            let error = if is_late {
                self.late(place)
            } else {
                ended.clone()
            };
            self.answers[place] = Some(Err(error));
        }
    }

    fn late(&self, place: usize) -> PublishError {
        let limit = self.config.call_timeout;
        PublishError::new(PublishErrorKind::Unavailable)
            .with_destination(self.destination(place))
            .with_source(format!("no delivery report within {limit:?}"))
    }

    fn destination(&self, place: usize) -> String {
        let topic = &self.config.topic;
        topic.destination(&self.events[place]).into_owned()
    }
}

fn error(kind: PublishErrorKind, code: Code) -> PublishError {
    PublishError::new(kind).with_source(KafkaError::MessageProduction(code))
}
