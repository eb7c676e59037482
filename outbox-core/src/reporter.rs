//! The reports of a relay, so that an operator sees it.

use crate::error::{ErrorKind, OutboxError};
use crate::outage::Outage;
use crate::processor::Pauses;
use crate::registry::{RelayId, RelayPause, RelayProgram, RelayRegistry, RelayReport};
use crate::shutdown::Stop;
use crate::transport::PublishErrorKind;
use crate::vitals::Vitals;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout};

/// How long a relay waits for the removal of its row, within the grace time.
const WITHDRAWAL: Duration = Duration::from_secs(2);

/// How soon a report says that a destination pauses.
const SOON: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Reporter {
    registry: Arc<dyn RelayRegistry>,
    id: RelayId,
    program: RelayProgram,
}

impl Reporter {
    pub(crate) fn new(registry: Arc<dyn RelayRegistry>, program: RelayProgram) -> Self {
        Self {
            registry,
            id: RelayId::new(),
            program,
        }
    }

    /// Reports at once and then regularly, and soon after a destination pauses or no longer does. An error
    /// never ends it.
    pub(crate) async fn run(&self, vitals: &Vitals, pauses: &Pauses) -> Infallible {
        let mut outage = Outage::of("report");
        let mut due = Instant::now();
        let mut known = Vec::new();
        loop {
            let (now, paused) = (Instant::now(), paused(pauses));
            if now >= due || paused != known {
                due = now + RelayReport::INTERVAL;
                known = paused;
                match self.report(vitals, pauses).await {
                    Ok(()) => outage.succeeded(),
                    Err(error) => {
                        outage.failed(&error, "`outbox status` does not show this relay");
                    }
                }
            }
            // An idle relay wakes up for a report only.
            tokio::select! {
                () = sleep_until(due) => {}
                () = pauses.noted() => sleep_until(due.min(now + SOON)).await,
            }
        }
    }

    async fn report(&self, vitals: &Vitals, pauses: &Pauses) -> Result<(), OutboxError> {
        let mut report = RelayReport::new(self.id, self.program.clone());
        report.last_pass = vitals.last_pass();
        report.last_error = vitals.last_error();
        let mut pauses = pauses.list();
        pauses.sort_by(|one, other| one.destination.cmp(&other.destination));
        pauses.truncate(RelayReport::MAX_PAUSES);
        let pause = |pause: crate::Pause| {
            let destination = pause.destination.as_deref();
            RelayPause::new(destination, pause.kind.name(), &pause.error, pause.since)
        };
        report.pauses = pauses.into_iter().map(pause).collect();
        let written = timeout(RelayReport::INTERVAL, self.registry.report(&report)).await;
        written.unwrap_or_else(|_| Err(OutboxError::new(ErrorKind::Unavailable, "core", "report")))
    }

    /// Removes the row within the grace time. A row that stays is shown as silent, and removed later.
    pub(crate) async fn withdraw(&self, mut stop: Stop) {
        tokio::select! {
            biased;
            result = self.registry.withdraw(self.id) => if let Err(error) = result {
                tracing::debug!(%error, "the row of this relay was not removed");
            },
            () = stop.grace_over() => {}
            () = sleep(WITHDRAWAL) => {}
        }
    }
}

/// The destinations that pause, and why.
fn paused(pauses: &Pauses) -> Vec<(Option<Arc<str>>, PublishErrorKind)> {
    let pauses = pauses.list().into_iter();
    let mut paused: Vec<_> = pauses
        .map(|pause| (pause.destination, pause.kind))
        .collect();
    paused.sort_by(|(one, _), (other, _)| one.cmp(other));
    paused
}
