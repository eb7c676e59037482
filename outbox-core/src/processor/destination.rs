//! The breaker of one destination.

use super::breaker::pause_end;
use crate::object::ErrorText;
use crate::outage::Outage;
use crate::retry::RetrySchedule;
use crate::transport::PublishErrorKind;
use tokio::time::{Duration, Instant};

/// The most events that one call makes due.
pub(super) const PAGE: usize = 1000;

/// After a probe with so many events has worked, the destination gets all events. An event that makes its
/// destination fail is alone soon, and the others are not delayed much by it.
const PROBE: usize = 64;

/// After this time the store is asked for a probe again: another worker may have claimed it.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How long a held event waits if nothing resumes its destination, such as after a restart of the worker.
pub(super) const HOLD: Duration = Duration::from_secs(300);

/// The same while nothing shows that the broker works: another worker may reach it.
pub(super) const SHORT_HOLD: Duration = Duration::from_millis(2500);

/// Whether an event may be sent to a destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Gate {
    Open,
    /// A call with up to so many events shows whether the destination works again.
    Probe(usize),
    Paused,
}

/// What a call says about a destination.
#[derive(Debug)]
pub(super) enum Answer {
    /// It answered for an event.
    Works,
    Failed(PublishErrorKind, ErrorText),
    Throttled(Duration, ErrorText),
}

/// Why a destination gets no events.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) kind: PublishErrorKind,
    pub(super) error: ErrorText,
    pub(super) since: Instant,
}

#[derive(Debug)]
pub(super) struct Destination {
    outage: Outage,
    /// None while it works and its held events become due.
    pub(super) problem: Option<Problem>,
    /// The kind of the problem when the changes were last asked for.
    pub(super) shown: Option<PublishErrorKind>,
    failures: u32,
    paused_until: Option<Instant>,
    /// The end of the latest pause. Calls that were made before say nothing about the time after it.
    listens_from: Option<Instant>,
    pub(super) probing: bool,
    /// How many events the next probe has. It doubles with each probe that works.
    probe: usize,
    /// Until when the store is not asked again for an event that is the probe after this pause.
    pub(super) asked_until: Option<Instant>,
    /// Calls that have not answered for a long time.
    pub(super) hung: usize,
    /// Whether held events must become due.
    pub(super) resume: bool,
}

impl Destination {
    pub(super) fn new(name: &str) -> Self {
        Self {
            outage: Outage::of(format!("destination {name}")),
            problem: None,
            shown: None,
            failures: 0,
            paused_until: None,
            listens_from: None,
            probing: false,
            probe: 1,
            asked_until: None,
            hung: 0,
            resume: false,
        }
    }

    pub(super) fn works(&self) -> bool {
        self.failures == 0 && self.paused_until.is_none() && self.hung == 0
    }

    pub(super) fn gate(&mut self) -> Gate {
        let over = self
            .paused_until
            .is_none_or(|until| until <= Instant::now());
        if self.hung > 0 || !over || self.probing {
            Gate::Paused
        } else if self.failures == 0 {
            Gate::Open
        } else {
            self.probing = true;
            Gate::Probe(self.probe)
        }
    }

    /// How many events must become due now.
    pub(super) fn resumption(&mut self, now: Instant) -> Option<usize> {
        let over = self.paused_until.is_some_and(|until| until <= now);
        if over && self.failures == 0 {
            // The end of a throttle.
            self.recover();
        }
        if self.resume {
            return Some(PAGE);
        }
        let asked = self.asked_until.is_some_and(|until| until > now);
        if over && !asked && !self.probing && self.hung == 0 {
            self.asked_until = Some(now + ASK_AGAIN);
            return Some(self.probe);
        }
        None
    }

    /// Notes that the store made `count` events due, fewer than it was asked for. Returns whether the
    /// destination can be forgotten.
    pub(super) fn has_no_more(&mut self, asked: usize, count: usize) -> bool {
        let over = |until| until + HOLD <= Instant::now();
        if asked == PAGE {
            self.resume = false;
        } else if self.probe > 1 && !self.probing {
            // A probe has worked, and no other event waits.
            self.recover();
        } else if count == 0 && !self.probing && self.hung == 0 {
            // Events that another worker holds would be due by then.
            return self.paused_until.is_some_and(over);
        }
        self.works() && !self.resume
    }

    /// When the next resumption is due.
    pub(super) fn next_resumption(&self) -> Option<Instant> {
        if self.resume {
            return Some(Instant::now());
        }
        let until = self.paused_until.max(self.asked_until)?;
        (!self.probing && self.hung == 0).then_some(until)
    }

    /// Whether the answer to a call that was made at this time says something.
    pub(super) fn listens(&self, made: Instant) -> bool {
        self.listens_from.is_none_or(|from| from <= made)
    }

    pub(super) fn apply(&mut self, answer: &Answer, schedule: RetrySchedule) {
        match answer {
            Answer::Works if self.failures > 0 && self.probe < PROBE => {
                self.probe *= 2;
                self.failures = 1;
                self.paused_until = Some(Instant::now());
            }
            Answer::Works => self.recover(),
            Answer::Failed(kind, error) => {
                self.failures = self.failures.saturating_add(1);
                let longest = *kind == PublishErrorKind::Misconfigured;
                let pause = schedule.random_pause(self.failures, longest);
                self.pause(*kind, error, pause);
                let effect = if longest {
                    "a person must repair it; its events wait, and no failed attempt is counted"
                } else {
                    "its events wait, and no failed attempt is counted"
                };
                self.outage.failed(error, effect);
            }
            Answer::Throttled(after, error) => {
                let kind = PublishErrorKind::Throttled(*after);
                self.pause(kind, error, *after);
            }
        }
    }

    fn pause(&mut self, kind: PublishErrorKind, error: &ErrorText, pause: Duration) {
        (self.resume, self.asked_until, self.probe) = (false, None, 1);
        self.paused_until = Some(pause_end(pause));
        self.listens_from = self.paused_until;
        self.note(kind, error);
    }

    /// Notes why it gets no events.
    pub(super) fn note(&mut self, kind: PublishErrorKind, error: &ErrorText) {
        let since = self.problem.take().map(|problem| problem.since);
        self.problem = Some(Problem {
            kind,
            error: error.clone(),
            since: since.unwrap_or_else(Instant::now),
        });
    }

    fn recover(&mut self) {
        if self.problem.take().is_some() {
            self.outage.succeeded();
            self.resume = true;
        }
        (self.failures, self.paused_until) = (0, None);
        (self.probe, self.asked_until) = (1, None);
    }
}
