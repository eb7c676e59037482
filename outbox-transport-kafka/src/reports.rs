//! The delivery reports of one round of a call.

use rdkafka::error::RDKafkaErrorCode as Code;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What librdkafka says of a message.
pub(crate) type Report = Result<(), Code>;

/// The reports on messages, by their place in the call.
#[derive(Debug)]
pub(crate) struct Reports {
    state: Mutex<State>,
    complete: Notify,
}

#[derive(Debug)]
struct State {
    reports: Vec<Option<Report>>,
    /// How many messages were sent and have no report.
    missing: usize,
    has_failed: bool,
}

/// The right to report on a message.
#[derive(Debug)]
pub(crate) struct Ticket {
    reports: Arc<Reports>,
    place: usize,
}

impl Reports {
    pub(crate) fn new(count: usize) -> Arc<Self> {
        let state = Mutex::new(State {
            reports: vec![None; count],
            missing: 0,
            has_failed: false,
        });
        let complete = Notify::new();
        Arc::new(Self { state, complete })
    }

    /// The ticket of a message that will be sent. None after a failed one: it may be of the same key.
    pub(crate) fn ticket(self: &Arc<Self>, place: usize) -> Option<Ticket> {
        let mut state = self.state();
        if state.has_failed {
            return None;
        }
        state.missing += 1;
        let reports = Arc::clone(self);
        Some(Ticket { reports, place })
    }

    /// The report on a message that was not sent, in place of its ticket.
    pub(crate) fn not_sent(&self, place: usize, code: Option<Code>) {
        self.put(place, code.map(Err));
    }

    fn put(&self, place: usize, report: Option<Report>) {
        let mut state = self.state();
        state.reports[place] = report;
        state.has_failed |= matches!(report, Some(Err(_)));
        state.missing -= 1;
        if state.missing == 0 {
            self.complete.notify_waiters();
        }
    }

    /// Returns when each message has its report. All are sent.
    pub(crate) async fn complete(&self) {
        loop {
            let complete = self.complete.notified();
            if self.are_complete() {
                return;
            }
            complete.await;
        }
    }

    pub(crate) fn are_complete(&self) -> bool {
        self.state().missing == 0
    }

    /// The reports so far.
    pub(crate) fn so_far(&self) -> Vec<Option<Report>> {
        self.state().reports.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    pub(crate) fn report(&self, report: Report) {
        self.reports.put(self.place, Some(report));
    }
}
