//! Events that one producer gets in one go, and its reports.

use crate::producer::{Current, Producer, Watch};
use crate::record::Record;
use crate::reports::{Report, Reports};
use outbox_core::PublishError;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a full queue is waited for without a report.
const ROOM: Duration = Duration::from_millis(2);

/// What one producer said of the events that had no answer.
pub(crate) struct Round {
    /// The reports, by the place of the event in the call.
    pub(crate) reports: Vec<Option<Report>>,
    /// Whether an event was sent. One without a report has then an unknown fate.
    pub(crate) sent: Vec<bool>,
    /// Why no event of the call can be published.
    pub(crate) trouble: Option<PublishError>,
}

/// The records of a call, and the producer that gets some of them.
pub(crate) struct Sending<'c> {
    pub(crate) current: &'c Current,
    pub(crate) producer: &'c Arc<Producer>,
    pub(crate) records: &'c [Option<Record<'c>>],
    pub(crate) until: Instant,
}

/// Messages with a producer. Those that have no report when it is dropped are purged.
struct InFlight<'c> {
    current: &'c Current,
    producer: Arc<Producer>,
    reports: Arc<Reports>,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if !self.reports.are_complete() {
            self.current.retire(&self.producer);
        }
    }
}

impl Sending<'_> {
    /// Sends the events at these places, and waits for their reports.
    pub(crate) async fn run(&self, open: &[usize]) -> Round {
        let producer = self.producer;
        let in_flight = InFlight {
            current: self.current,
            producer: Arc::clone(producer),
            reports: Reports::new(self.records.len()),
        };
        let reports = &in_flight.reports;
        let mut sent = vec![false; self.records.len()];
        let trouble = match producer.watch() {
            None => None,
            Some(watch) => tokio::select! {
                () = async {
                    self.send(watch, reports, open, &mut sent).await;
                    reports.complete().await;
                } => None,
                error = watch.refused() => Some(error),
                never = self.purge_when_ended(watch) => match never {},
                () = sleep_until(self.until) => watch.trouble(),
            },
        };
        let reports = reports.so_far();
        Round {
            reports,
            sent,
            trouble,
        }
    }

    /// Librdkafka purges when it ends a producer, but a message that is queued at the same time stays.
    async fn purge_when_ended(&self, watch: &Watch) -> Infallible {
        watch.ended().await;
        self.current.retire(self.producer);
        std::future::pending().await
    }

    /// Sends events in their order, up to the first that fails.
    async fn send(&self, watch: &Watch, reports: &Arc<Reports>, open: &[usize], sent: &mut [bool]) {
        for &place in open {
            let Some(record) = &self.records[place] else {
                continue;
            };
            loop {
                let reported = watch.reported().notified();
                let Some(ticket) = reports.ticket(place) else {
                    return;
                };
                match self.producer.send(record, ticket) {
                    Ok(()) => {
                        sent[place] = true;
                        break;
                    }
                    Err(Code::QueueFull) => {
                        reports.not_sent(place, None);
                        // The room of a message is free only after its report.
                        let _ = timeout(ROOM, reported).await;
                    }
                    Err(code) => return reports.not_sent(place, Some(code)),
                }
            }
        }
    }
}
