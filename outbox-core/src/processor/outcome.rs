//! From the verdicts of a claim to its settlement, its report and its log lines.

use super::PassReport;
use super::call::Verdict;
use super::publish::Slot;
use crate::object::{ErrorText, EventId};
use crate::retry::RetrySchedule;
use crate::storage::{Outcome, Settlement};
use tokio::time::Duration;

/// How much longer than the pause an event waits during an outage of the whole broker, at most. So its key
/// continues within this time after the probe that works.
const LEAD: Duration = Duration::from_millis(500);

/// The settlement of an event. `pause` is the time until the whole broker gets events again.
/// `hold` is how long an event of a destination that pauses waits if nothing resumes it.
pub(super) fn settlement(
    slot: &Slot,
    retry: RetrySchedule,
    pause: Duration,
    hold: Duration,
) -> Settlement {
    let outcome = match &slot.verdict {
        Verdict::Published => Outcome::Published,
        Verdict::Rejected(error) | Verdict::Lost(error) => Outcome::Retry {
            delay: retry.random_delay(slot.attempts.saturating_add(1)),
            error: error.clone(),
        },
        Verdict::Permanent { reason, .. } => Outcome::Dead {
            reason: reason.clone(),
        },
        // One of these may be the cause. With a shorter delay they are the next probes, one by one.
        Verdict::Unavailable {
            destination: Some(name),
            ..
        } if !slot.alone => Outcome::Held {
            destination: name.clone(),
            delay: hold / 2,
        },
        Verdict::Unavailable {
            destination: Some(name),
            ..
        }
        | Verdict::Throttled {
            destination: Some(name),
            ..
        }
        | Verdict::Paused(name) => Outcome::Held {
            destination: name.clone(),
            delay: hold,
        },
        // Longer than the pause before the next probe, so that another event is the probe.
        Verdict::Unavailable {
            destination: None, ..
        } => Outcome::Released {
            delay: pause + (pause / 4).min(LEAD),
        },
        Verdict::Throttled {
            destination: None, ..
        }
        | Verdict::Untried => Outcome::Released {
            delay: Duration::ZERO,
        },
    };
    Settlement::new(slot.id, outcome)
}

/// Logs what an operator must know of settled events.
pub(super) fn log_failures(slots: &[Slot]) {
    for slot in slots {
        match &slot.verdict {
            Verdict::Permanent { event_type, reason } => {
                log_quarantine(
                    slot.id,
                    Some(event_type),
                    reason,
                    slot.attempts.saturating_add(1),
                );
            }
            Verdict::Lost(error) => {
                let event = slot.id;
                tracing::warn!(%event, %error, "took over a lost claim: a failed attempt is counted");
            }
            _ => {}
        }
    }
}

/// One warning for each quarantined event, with the command that shows its dead letter.
pub(crate) fn log_quarantine(id: EventId, event_type: Option<&str>, reason: &str, failures: u32) {
    let show = format!("outbox dlq show {id}");
    tracing::warn!(event = %id, event_type, reason, failures, show, "event quarantined");
}

/// Adds the settlements of a claim to its report.
pub(super) fn count(report: &mut PassReport, settlements: &[Settlement]) {
    for settlement in settlements {
        match settlement.outcome {
            Outcome::Published => report.published += 1,
            Outcome::Retry { .. } => report.retried += 1,
            Outcome::Dead { .. } => report.dead += 1,
            Outcome::Released { .. } | Outcome::Held { .. } => report.released += 1,
            Outcome::Kept => {}
        }
    }
}

/// An event that makes its destination fail whenever it is alone is the cause.
pub(super) fn blamed(error: &ErrorText) -> Verdict {
    Verdict::Rejected(ErrorText::new(&format!(
        "{error}, twice alone while other events were published"
    )))
}
