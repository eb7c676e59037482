//! Events that a settlement keeps, or holds for a destination.

use super::super::Fault as F;
use super::{Done, Saboteur};
use outbox_core::{ClaimLimit, ClaimToken, OutboxStorage, Outcome, Settlement};
use std::sync::Arc;
use std::time::Duration;

impl Saboteur {
    /// The settlements as the fault takes them. None: it puts them off until the late settlement.
    pub(super) fn keep(&self, token: ClaimToken, all: &[Settlement]) -> Option<Vec<Settlement>> {
        let is_kept = |one: &&Settlement| matches!(one.outcome, Outcome::Kept);
        let kept = all.iter().filter(is_kept).count();
        let mut disk = self.disk();
        if self.fault == F::KeepsTheWholeClaim {
            let others = disk.kept.remove(&token);
            if kept > 0 && others.is_none() {
                let others = all.iter().filter(|one| !is_kept(one)).cloned();
                disk.kept.insert(token, others.collect());
                return None;
            }
            return Some([all, &others.unwrap_or_default()].concat());
        }
        if kept > 0 {
            disk.kept.insert(token, Vec::new());
        }
        Some(all.to_vec())
    }

    pub(super) fn change_a_wait(&self, outcome: Outcome) -> Outcome {
        let year = Duration::from_secs(3600 * 24 * 365);
        let error = || "charged".into();
        match (self.fault, outcome) {
            (F::ChargesAReleaseToo, Outcome::Released { delay })
            | (F::ChargesAHold, Outcome::Held { delay, .. }) => Outcome::Retry {
                delay,
                error: error(),
            },
            (F::HoldsForNoTime, Outcome::Held { .. }) => super::released(),
            (F::HoldsUntilAResumption, Outcome::Held { destination, .. }) => Outcome::Held {
                destination,
                delay: year,
            },
            (F::HoldsEveryDelay, Outcome::Released { delay }) if !delay.is_zero() => {
                let destination = "a".into();
                Outcome::Held { destination, delay }
            }
            (_, Outcome::Held { destination, delay }) => {
                let destination: Arc<str> = self.name(&destination).into();
                self.disk().destinations.insert(Arc::clone(&destination));
                Outcome::Held { destination, delay }
            }
            (_, outcome) => outcome,
        }
    }

    /// A destination as the fault writes it.
    fn name(&self, destination: &str) -> String {
        match self.fault {
            F::CutsDestinations => destination.chars().take(255).collect(),
            F::CutsDestinationsThatAreTooLong => {
                let most = Outcome::MAX_DESTINATION;
                destination.chars().take(most).collect()
            }
            F::RemovesNulFromDestinations => destination.replace('\0', ""),
            F::IgnoresTheCaseOfDestinations => destination.to_lowercase(),
            _ => destination.to_owned(),
        }
    }

    pub(super) async fn resume_as_the_fault_says(
        &self,
        destination: &str,
        limit: usize,
    ) -> Done<usize> {
        let name = self.name(destination);
        match self.fault {
            F::StaysBusyWhenDropped => self.lock_and_look().await?,
            F::ResumesNothing => return Ok(0),
            F::ResumesEveryDestination => {
                let all = self.disk().destinations.clone();
                for other in all {
                    self.store.resume(&other, limit).await?;
                }
            }
            F::ResumesByAge => return self.resume_by_age(&name, limit).await,
            _ => {}
        }
        let limit = match self.fault {
            F::ResumesWithoutBound => usize::MAX,
            _ => limit,
        };
        let resumed = self.store.resume(&name, limit).await?;
        match self.fault {
            F::NeverDoneResuming => Ok(resumed.max(1)),
            _ => Ok(resumed),
        }
    }

    /// Resumes all events, and holds those again that were appended last.
    async fn resume_by_age(&self, destination: &str, limit: usize) -> Done<usize> {
        self.store.resume(destination, usize::MAX).await?;
        let lease = Duration::from_secs(30);
        let due = self.store.claim(ClaimLimit::events(100), lease).await?;
        let outcome = |number| match number {
            number if number >= limit => Outcome::Held {
                destination: destination.into(),
                delay: lease,
            },
            _ => super::released(),
        };
        let numbered = due.events.iter().enumerate();
        let settlements: Vec<_> = numbered
            .map(|(number, one)| Settlement::new(one.event.id, outcome(number)))
            .collect();
        if !settlements.is_empty() {
            self.store.settle(due.token, &settlements).await?;
        }
        Ok(due.events.len().min(limit))
    }
}
