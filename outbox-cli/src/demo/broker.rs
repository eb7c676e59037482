//! The demo's broker and its consumer in one: refuses some events, and checks what it takes. Or a real
//! broker, whose events are checked when they are read back.

use super::shop::SEQUENCE;
use crate::wiring::Outlet;
use async_trait::async_trait;
use outbox_core::{Event, EventId, PublishError, PublishErrorKind, Transport};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// After that many events the broker is away for a while.
const OUTAGE_AFTER: usize = 1000;
const OUTAGE: Duration = Duration::from_millis(400);
/// The largest payment that the broker takes.
const PAYMENT_LIMIT: f64 = 20.0;
/// The longest title that it takes, in characters.
const TITLE_LIMIT: usize = 90;
/// One event in so many is refused the first time.
const HICCUP: u8 = 64;

/// Clones are the same broker.
#[derive(Clone, Debug, Default)]
pub(super) struct Broker {
    record: Arc<Mutex<Record>>,
    /// None: the broker is in this process.
    outlet: Option<Outlet>,
}

/// What the consumer has seen.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) delays: HashMap<EventId, Duration>,
    pub(super) duplicates: usize,
    pub(super) refused: usize,
    pub(super) unavailable: usize,
    pub(super) disorder: Vec<String>,
    latest: HashMap<String, u64>,
    hiccups: HashSet<EventId>,
    away_until: Option<Instant>,
}

impl Record {
    pub(super) fn keys(&self) -> usize {
        self.latest.len()
    }

    fn take(&mut self, event: &Event) -> Result<(), PublishError> {
        if self.away() {
            self.unavailable += 1;
            return Err(
                PublishError::new(PublishErrorKind::Unavailable).with_source("the broker restarts")
            );
        }
        if let Err(error) = check(event) {
            self.refused += 1;
            return Err(error);
        }
        if event.id.as_uuid().as_bytes()[15].is_multiple_of(HICCUP) && self.hiccups.insert(event.id)
        {
            self.refused += 1;
            let error = PublishError::new(PublishErrorKind::Rejected);
            return Err(error.with_source("the partition is moving, try again"));
        }
        self.receive(event, delay(event));
        Ok(())
    }

    fn away(&mut self) -> bool {
        if self.away_until.is_none() && self.delays.len() >= OUTAGE_AFTER {
            self.away_until = Some(Instant::now() + OUTAGE);
        }
        self.away_until.is_some_and(|until| Instant::now() < until)
    }

    /// Remembers when a real broker has accepted events, and how often it has not.
    fn accepted(&mut self, events: &[Event], answers: &[Result<(), PublishError>]) {
        for (event, answer) in events.iter().zip(answers) {
            match answer.as_ref().map_err(PublishError::kind) {
                Ok(()) => {
                    self.delays.entry(event.id).or_insert_with(|| delay(event));
                }
                Err(PublishErrorKind::Rejected | PublishErrorKind::Permanent) => self.refused += 1,
                Err(_) => self.unavailable += 1,
            }
        }
    }

    /// Checks what was read back from a real broker, in its order.
    pub(super) fn read_back(&mut self, events: &[Event]) {
        let accepted = std::mem::take(&mut self.delays);
        for event in events {
            // An event whose answer was lost has arrived too.
            let delay = accepted.get(&event.id).copied().unwrap_or_default();
            self.receive(event, delay);
        }
    }

    fn receive(&mut self, event: &Event, delay: Duration) {
        if self.delays.insert(event.id, delay).is_some() {
            self.duplicates += 1;
            return;
        }
        let key = event.ordering_key.clone().unwrap_or_default();
        let number = event
            .headers
            .get(SEQUENCE)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let latest = self.latest.entry(key.clone()).or_default();
        if number <= *latest {
            self.disorder
                .push(format!("{key}: event {number} came after {latest}"));
        }
        *latest = number.max(*latest);
    }
}

/// The time since it was appended.
fn delay(event: &Event) -> Duration {
    let passed = SystemTime::now().duration_since(event.created_at);
    passed.unwrap_or_default()
}

/// Refuses what this broker's rules do not allow.
fn check(event: &Event) -> Result<(), PublishError> {
    let body: Value = serde_json::from_slice(&event.payload)
        .map_err(|error| PublishError::new(PublishErrorKind::Permanent).with_source(error))?;
    if let Some(amount) = body["amount"]
        .as_f64()
        .filter(|amount| *amount > PAYMENT_LIMIT)
    {
        let text = format!("amount {amount} is over the limit of {PAYMENT_LIMIT}");
        return Err(PublishError::new(PublishErrorKind::Rejected).with_source(text));
    }
    let title = body["title"]
        .as_str()
        .map_or(0, |title| title.chars().count());
    if title > TITLE_LIMIT {
        let text = format!("title of {title} characters, {TITLE_LIMIT} at most");
        return Err(PublishError::new(PublishErrorKind::Permanent).with_source(text));
    }
    Ok(())
}

impl Broker {
    /// A real one.
    pub(super) fn at(outlet: Outlet) -> Self {
        Self {
            outlet: Some(outlet),
            ..Self::default()
        }
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Transport for Broker {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let Some(outlet) = &self.outlet else {
            let mut record = self.record();
            return events.iter().map(|event| record.take(event)).collect();
        };
        let answers = outlet.publish(events).await;
        self.record().accepted(events, &answers);
        answers
    }

    fn keeps_order(&self) -> bool {
        self.outlet.as_ref().is_some_and(Transport::keeps_order)
    }

    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        self.outlet.as_ref()?.destination(event)
    }
}
