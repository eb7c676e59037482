//! One claim: taken, published, settled.

use super::call::{Publisher, Verdict};
use super::crew::SILENT;
use super::observed::Ended;
use super::outcome::{blamed, count, log_failures, settlement};
use super::publish::{Publication, Slot, Stage};
use super::{OutboxProcessor, PassReport, spans};
use crate::error::{ErrorKind, OutboxError};
use crate::object::{ErrorText, EventId};
use crate::observer::Observation;
use crate::shutdown::Stop;
use crate::storage::{Claim, ClaimLimit, ClaimToken, Outcome, Settlement};
use crate::transport::PublishErrorKind;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::time::{Duration, Instant, sleep, timeout};
use tracing::Instrument;

/// A claim with events.
pub(super) struct Taken {
    claim: Claim,
    lease_end: Instant,
    /// How long the claim took.
    took: Duration,
    /// It has as many events as it was asked for.
    pub(super) is_full: bool,
}

/// The events of a claim that are settled together.
struct Part<'p> {
    /// They have their verdicts.
    slots: Vec<Slot>,
    /// They hang.
    kept: Vec<EventId>,
    calls: &'p [Ended],
}

impl OutboxProcessor {
    /// Claims events, unless the broker pauses. A claim that is still running when the grace time of a
    /// shutdown ends is cancelled: none of its events is published, and its lease runs out.
    pub(super) async fn take(&self, stop: Stop) -> Result<Option<Taken>, OutboxError> {
        let span = spans::claim();
        let taken = self.take_now(stop).instrument(span.clone()).await?;
        if let Some(taken) = &taken {
            span.record("events", spans::number(taken.claim.events.len()));
        }
        Ok(taken)
    }

    async fn take_now(&self, mut stop: Stop) -> Result<Option<Taken>, OutboxError> {
        self.resume().await?;
        let events = self.state().breaker.limit();
        if events == 0 {
            return Ok(None);
        }
        let start = Instant::now();
        let lease_end = start + self.config.lease();
        let limit = ClaimLimit::events(events).bytes(self.config.batch_bytes());
        let claim = tokio::select! {
            biased;
            claim = self.storage.claim(limit, self.config.lease()) => claim,
            () = stop.grace_over() => return Ok(None),
        };
        self.observers.note_store(&claim);
        if let Err(error) = &claim
            && error.kind() == ErrorKind::Unavailable
        {
            self.state().breaker.claim_failed();
        }
        let claim = claim?;
        let is_full = claim.events.len() >= events;
        if claim.events.is_empty() {
            self.observers
                .notify(Observation::Pass(&PassReport::default()));
        }
        Ok((!claim.events.is_empty()).then_some(Taken {
            claim,
            lease_end,
            took: start.elapsed(),
            is_full,
        }))
    }

    /// Makes events due whose destination works again, or is to be probed. One page each, so that other
    /// events are not delayed.
    async fn resume(&self) -> Result<(), OutboxError> {
        for resumption in self.pauses.resumptions() {
            let call = self
                .storage
                .resume(&resumption.destination, resumption.limit);
            let count = call.await;
            self.observers.note_store(&count);
            self.pauses.resumed(&resumption, count?);
        }
        self.note_breakers();
        Ok(())
    }

    /// Publishes a claim and settles it. If some calls hang, the other events are settled first, and
    /// `hangs` is called if these calls concern one destination each.
    pub(super) async fn publish(
        &self,
        taken: Taken,
        stop: Stop,
        hangs: impl FnMut(),
    ) -> Result<PassReport, OutboxError> {
        let span = spans::pass(taken.claim.events.len(), taken.took);
        let pass = self.publish_now(taken, stop, hangs);
        let report = pass.instrument(span.clone()).await?;
        spans::end_pass(&span, &report);
        Ok(report)
    }

    async fn publish_now(
        &self,
        taken: Taken,
        stop: Stop,
        mut hangs: impl FnMut(),
    ) -> Result<PassReport, OutboxError> {
        let Taken {
            claim: Claim { token, events },
            lease_end,
            is_full,
            ..
        } = taken;
        let _open = self.open_claim();
        let generation = self.state().breaker.generation();
        let mut report = PassReport {
            claimed: events.len(),
            ..PassReport::default()
        };
        let publisher = Publisher {
            transport: &*self.transport,
            timeout: self.config.publish_timeout(),
            bytes: self.config.batch_bytes(),
            lease_end,
            stop,
        };
        let mut publication = Publication::new(
            publisher,
            &self.pauses,
            self.config.breaker(),
            events,
            self.storage.blocks_key_on_dead_letter(),
            !self.observers.is_empty(),
        );
        loop {
            let mut stage = publication.advance().await;
            if stage == Stage::Hangs && publication.has_only_named_calls() {
                hangs();
            }
            // A full claim is one of a backlog. Events that it keeps would block keys with many later events,
            // so it keeps its lanes instead, until its calls end or the broker answers another one.
            while stage == Stage::Hangs && is_full && self.pauses.is_silent() {
                if let Ok(next) = timeout(SILENT, publication.advance()).await {
                    stage = next;
                }
            }
            let (slots, kept) = publication.settleable();
            let slots = self.judge(slots, generation);
            self.note_breakers();
            let part = Part {
                slots,
                kept,
                calls: publication.ended(),
            };
            self.settle_part(token, part, lease_end, &mut report)
                .await?;
            if stage == Stage::Done {
                tracing::debug!(?report, "pass");
                self.observers.notify(Observation::Pass(&report));
                return Ok(report);
            }
        }
    }

    /// Tells the breaker what the broker answered, and charges events that make it fail.
    fn judge(&self, mut slots: Vec<Slot>, generation: u64) -> Vec<Slot> {
        self.inform_breaker(&slots, generation);
        let answered = slots.iter().filter(|slot| slot.is_answered());
        self.pauses.answered(answered.map(|slot| slot.id));
        for slot in &mut slots {
            self.blame(slot);
        }
        slots
    }

    fn inform_breaker(&self, slots: &[Slot], generation: u64) {
        let mut state = self.state();
        if let Some((kind, error)) = slots.iter().find_map(Slot::outage) {
            self.pauses.set_whole(Some((kind, error)));
            if generation == state.breaker.generation() {
                let longest = kind == PublishErrorKind::Misconfigured;
                state.breaker.failed(longest);
                let effect = "its events wait, and no failed attempt is counted";
                state.broker.failed(error, effect);
            }
            return;
        }
        let mut answered = false;
        let mut throttled: Option<(Duration, &ErrorText)> = None;
        for slot in slots {
            match &slot.verdict {
                Verdict::Throttled {
                    destination: None,
                    after,
                    error,
                } if throttled.is_none_or(|(longest, _)| longest < *after) => {
                    throttled = Some((*after, error));
                }
                Verdict::Published | Verdict::Rejected(_) | Verdict::Permanent { .. } => {
                    answered = true;
                }
                _ => {}
            }
        }
        if generation != state.breaker.generation() || !(answered || throttled.is_some()) {
            return;
        }
        state.broker.succeeded();
        if let Some((after, error)) = throttled {
            state.breaker.throttled(after);
            let kind = PublishErrorKind::Throttled(after);
            self.pauses.set_whole(Some((kind, error)));
        } else {
            state.breaker.succeeded();
            self.pauses.set_whole(None);
        }
    }

    /// If the broker, or a destination, is unavailable whenever it gets one event alone, and works in
    /// between, that event is the cause. It is charged an attempt, or it would be a probe forever.
    fn blame(&self, slot: &mut Slot) {
        if let Some((destination, error)) = slot.lone_failure()
            && self.pauses.blame(slot.id, destination)
        {
            slot.verdict = blamed(error);
        }
    }

    /// Settles the events that have their verdicts, and keeps the others.
    async fn settle_part(
        &self,
        token: ClaimToken,
        part: Part<'_>,
        lease_end: Instant,
        report: &mut PassReport,
    ) -> Result<(), OutboxError> {
        let Part { slots, kept, calls } = part;
        let (retry, pause) = (self.config.retry(), self.state().breaker.pause());
        let hold = self.pauses.hold();
        let mut settlements: Vec<_> = slots
            .iter()
            .map(|slot| settlement(slot, retry, pause, hold))
            .collect();
        let kept = kept
            .into_iter()
            .map(|id| Settlement::new(id, Outcome::Kept));
        settlements.extend(kept);
        let settled = self.settle(token, &settlements, lease_end);
        let settled = settled.instrument(spans::settle(settlements.len())).await;
        self.observers.note_store(&settled);
        settled?;
        log_failures(&slots);
        self.note_settled(&slots, &settlements, calls);
        self.pauses.held(held_for(&settlements));
        let before = report.published;
        count(report, &settlements);
        self.state().published += (report.published - before) as u64;
        #[cfg(feature = "dlq")]
        if let Some(heap) = &self.heap {
            heap.add(slots, self.config.failure_threshold());
        }
        Ok(())
    }

    /// Settles, and repeats a failed call while the lease holds, because a settlement that fails
    /// costs a second delivery of the whole claim.
    async fn settle(
        &self,
        token: ClaimToken,
        settlements: &[Settlement],
        lease_end: Instant,
    ) -> Result<(), OutboxError> {
        let mut pause = Duration::from_millis(100);
        loop {
            let result = self.storage.settle(token, settlements).await;
            match result {
                Err(error)
                    if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Conflict)
                        && Instant::now() + pause < lease_end =>
                {
                    tracing::debug!(%error, ?pause, "cannot settle; trying again");
                }
                result => return result,
            }
            sleep(pause).await;
            pause *= 4;
        }
    }
}

/// The destinations for which events are held, each once.
fn held_for(settlements: &[Settlement]) -> HashSet<&Arc<str>> {
    let destinations = settlements.iter().filter_map(|one| match &one.outcome {
        Outcome::Held { destination, .. } => Some(destination),
        _ => None,
    });
    destinations.collect()
}
