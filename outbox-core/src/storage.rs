//! The contract between a store and the worker.
//!
//! Each clause (S1, S2, …) is checked by cases of the crate `outbox-conformance`;
//! `docs/conformance.md` lists them.

use crate::dlq::model::DlqEntry;
use crate::error::OutboxError;
use crate::object::{self, ErrorText, Event, EventId};
use async_trait::async_trait;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// Claims events, settles them, and moves those that keep failing into the quarantine.
///
/// All times and delays are measured by the store's clock. Every call is bounded by a timeout of the
/// adapter. *Later* events of a key are those that were committed after an event of the same key.
///
/// - **S1** Every event of a committed transaction is claimed as it was appended, however late it
///   commits, and an event of a rolled-back transaction never is. This holds while other programs
///   keep transactions open, and after the store was restored from an older copy.
/// - **S2** Events of one ordering key are claimed in commit order, and never while an earlier event
///   of the key is unsettled in another claim. Events of a key that overlapping transactions
///   append may come in either order, unless one is claimed before the other is committed.
/// - **S3** A claim has only events that are due, at most as many as it was asked for, and no event
///   is in two claims during the lease.
/// - **S4** A settlement whose claim was taken over or already settled changes nothing and is
///   [`LeaseLost`](crate::ErrorKind::LeaseLost). A claim may be settled only through the handle that
///   made it or a clone of it: through another handle, also one of another process, the settlement
///   is either applied or refused as `LeaseLost`, and no event is lost.
/// - **S5** An event is not claimed before its time, which is the end of a retry's delay or its
///   [`available_at`](crate::Event::available_at), and the later events of its key wait for it.
/// - **S6** Neither retries nor fresh events starve, even if a single event fills a claim.
/// - **S7** The events of a claim whose lease ran out are claimed again one at a time, each alone in
///   its claim. Only an event that was alone in such a claim is flagged
///   [`worker_lost`](ClaimedEvent::worker_lost).
/// - **S8** A quarantine moves an event atomically and once, and never an event that is published or
///   in a live claim.
/// - **S9** After a quarantine the later events of the key are claimed. If the store
///   [blocks the key](Self::blocks_key_on_dead_letter), they wait until the dead letter is purged,
///   replaced, or replayed ahead of them.
/// - **S10** A call whose future is dropped at any await point is applied to all of its events or to
///   none, and later calls on the handle work.
/// - **S11** The payloads and headers of a claim have at most [`ClaimLimit::bytes`] together, unless
///   the claim is a single event. A store reads no more of them than that.
/// - **S12** A key with many events does not delay the events of other keys, and an open claim
///   leaves work for other workers.
/// - **S13** A row that another program deletes, replaces or changes costs at most itself: a
///   settlement applies to the rows that are still there. A row that replaced another row, or that
///   has a new ordering key, is delivered and blocks nothing.
/// - **S14** An append with a taken id or idempotency token is a
///   [`Duplicate`](crate::ErrorKind::Duplicate) and leaves nothing behind. Of concurrent transactions
///   that use one token, one commits.
/// - **S15** A release charges no attempt, and a dead event is quarantined with its reason and a
///   charged attempt.
/// - **S16** A settlement names each event of its claim exactly once, or it is
///   [`Invalid`](crate::ErrorKind::Invalid) and changes nothing. It is applied after the end of the
///   lease too, unless another worker took the claim over.
/// - **S17** A wait for work returns soon after any handle brings work, and otherwise at the end of
///   its time limit.
/// - **S18** The backlog counts pending, claimed, waiting and dead events in one snapshot, and has the
///   ages of the oldest due event and of the oldest dead letter by the store's clock.
/// - **S19** A clean-up removes no event, no dead letter, and no token during its retention.
/// - **S20** A worker or a `DlqProcessor` that stops at any await point, or runs next to
///   others, loses no event, breaks no order, and quarantines each failing event once. A stopped
///   worker causes at most one second delivery of each event in its claim.
/// - **S21** A call whose connection is cut is [`Unavailable`](crate::ErrorKind::Unavailable) and is
///   applied to all of its events or to none. The next call on the handle works.
/// - **S22** A settlement may keep events in the claim for a later settlement of exactly these, and the
///   other events are settled at once. The later events of the key of a kept event wait for it.
/// - **S23** A held event waits with the later events of its key until its delay is over or
///   [`resume`](Self::resume) names its destination, which makes no event of another destination
///   due. A settlement with a name that is not [allowed](Outcome::validate) is
///   [`Invalid`](crate::ErrorKind::Invalid) and changes nothing.
#[async_trait]
pub trait OutboxStorage: Send + Sync + Debug {
    /// Leases due events to the caller for `lease`, within `limit`, in the order in which they must
    /// be published.
    ///
    /// A store may return fewer events than are due while another claim that shares a partition with
    /// them is open. While something is due and no claim is open, a claim is not empty, with one
    /// exception: a store may need several claims to move many waiting events aside. Then
    /// [`wait_for_work`](Self::wait_for_work) returns at once, and a later claim has an event.
    /// A claim whose lease has run out is taken over by the next call of any worker.
    ///
    /// # Errors
    ///
    /// On an error nothing is claimed, unless the reply was lost; then the lease runs out.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the events may be claimed; their lease then runs out.
    async fn claim(&self, limit: ClaimLimit, lease: Duration) -> Result<Claim, OutboxError>;

    /// Ends a claim with the outcome of each of its events, in one transaction.
    ///
    /// `settlements` may have any order. If some are [`Kept`](Outcome::Kept), the claim has these
    /// events from now on, and does not end yet. When its lease runs out, they are claimed alone (S7).
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) if the claim was taken over or already settled
    /// (S4), [`Invalid`](crate::ErrorKind::Invalid) if the settlements are not exactly the events of
    /// the claim (S16) or an outcome [may not be](Outcome::validate) applied. Nothing is changed in
    /// either case.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, all outcomes are applied or none.
    async fn settle(
        &self,
        token: ClaimToken,
        settlements: &[Settlement],
    ) -> Result<(), OutboxError>;

    /// Makes up to `limit` events due that are [held](Outcome::Held) for `destination`, and returns how
    /// many. Those whose delay ends first come first: an event that is held again comes after those
    /// that were not tried. Call again until it is zero.
    ///
    /// The provided form makes none due: held events wait until their delay is over.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, some of the events may be due. Call again.
    async fn resume(&self, destination: &str, limit: usize) -> Result<usize, OutboxError> {
        let _ = (destination, limit);
        Ok(0)
    }

    /// Moves events into the quarantine in one transaction and answers for each entry, in order.
    ///
    /// An entry that cannot be moved does not fail the others.
    ///
    /// # Errors
    ///
    /// On an error nothing is moved, unless the reply was lost; calling again is harmless.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, all events are moved or none.
    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError>;

    /// Whether an event that is quarantined through this handle blocks its ordering key (S9).
    ///
    /// The worker then publishes no later event of a key after a permanent failure. The provided form
    /// is `false`; a store that can block keys has a setter for it.
    ///
    /// The block belongs to the dead letter, not to this handle. It ends when the dead letter is
    /// replayed, purged, or replaced by one of the same id. Events before the dead letter are
    /// delivered at their own time. An event that has not been claimed yet cannot block its key, so
    /// its quarantine is [`Busy`](QuarantineOutcome::Busy). An event without a key blocks nothing.
    fn blocks_key_on_dead_letter(&self) -> bool {
        false
    }

    /// Returns when a claim may find work, and after `at_most` in any case.
    ///
    /// # Cancel safety
    ///
    /// It changes nothing, so it may be dropped at any time.
    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError>;

    /// The number of events in the outbox and in the quarantine, as one snapshot.
    async fn backlog(&self) -> Result<Backlog, OutboxError>;

    /// Removes up to `limit` rows that are no longer needed, and returns how many it removed: rows of
    /// published events, and idempotency tokens after their retention. Call again until it is zero.
    ///
    /// The provided form removes nothing.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, some of the rows may be removed. Call again.
    async fn clean_up(&self, limit: usize) -> Result<usize, OutboxError> {
        let _ = limit;
        Ok(0)
    }
}

/// How much one claim may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ClaimLimit {
    /// The most events, at least 1.
    pub events: usize,
    /// The most bytes of payloads and headers together (S11). A single event may exceed it.
    pub bytes: usize,
}

impl ClaimLimit {
    /// The default of [`bytes`](Self::bytes): 16 MiB.
    pub const BYTES: usize = 16 * 1024 * 1024;

    /// Up to `events` events, within the default number of bytes.
    ///
    /// ```
    /// # use outbox_core::ClaimLimit;
    /// let limit = ClaimLimit::events(100).bytes(1024 * 1024);
    /// ```
    #[must_use]
    pub fn events(events: usize) -> Self {
        Self {
            events,
            bytes: Self::BYTES,
        }
    }

    /// Replaces the number of bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Checks the limit, as each store does at the start of a claim.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) of `backend` if the number of events is 0.
    pub fn validate(&self, backend: &'static str) -> Result<(), OutboxError> {
        if self.events == 0 {
            let problem = "limit of events is 0, but must be at least 1";
            return Err(OutboxError::invalid(backend, "claim", problem));
        }
        Ok(())
    }
}

/// Identifies one claim, so that a settlement cannot apply to a later claim of the same events.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ClaimToken(Uuid);

impl ClaimToken {
    /// A new, random token.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::new_v4())
    }

    /// A new, random token that has the mark of its handle.
    #[must_use]
    pub fn with_mark(mark: ClaimMark) -> Self {
        let mut bytes = Uuid::new_v4().into_bytes();
        bytes[..mark.0.len()].copy_from_slice(&mark.0);
        Self(Uuid::from_bytes(bytes))
    }

    /// The mark of the handle that made the claim.
    #[must_use]
    pub fn mark(&self) -> ClaimMark {
        let mut mark = [0; 6];
        mark.copy_from_slice(&self.0.as_bytes()[..6]);
        ClaimMark(mark)
    }

    /// The token as a UUID.
    #[must_use]
    pub fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

/// The first six bytes of the tokens of the claims that a handle and its clones make. So a claim shows
/// which relay has it, and no claim costs more for that.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ClaimMark([u8; 6]);

impl ClaimMark {
    /// A new, random mark.
    #[must_use]
    pub fn new() -> Self {
        ClaimToken::new().mark()
    }

    /// The mark as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 6] {
        &self.0
    }
}

impl Default for ClaimMark {
    fn default() -> Self {
        Self::new()
    }
}

impl From<[u8; 6]> for ClaimMark {
    fn from(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }
}

impl Default for ClaimToken {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Uuid> for ClaimToken {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

/// Events leased to one worker.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Claim {
    /// Identifies this claim in its settlement.
    pub token: ClaimToken,
    /// The events, in the order in which they must be published.
    pub events: Vec<ClaimedEvent>,
}

impl Claim {
    /// A claim of `events` under `token`.
    #[must_use]
    pub fn new(token: ClaimToken, events: Vec<ClaimedEvent>) -> Self {
        Self { token, events }
    }

    /// A claim without events. It needs no settlement.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(ClaimToken::new(), Vec::new())
    }
}

/// One event of a claim.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClaimedEvent {
    /// The event.
    pub event: Event,
    /// Failed attempts since it was appended or replayed.
    pub attempts: u32,
    /// It was alone in a claim whose worker was lost. Do not publish it; settle it as a failed
    /// attempt.
    pub worker_lost: bool,
}

impl ClaimedEvent {
    /// An event with its failed attempts.
    #[must_use]
    pub fn new(event: Event, attempts: u32, worker_lost: bool) -> Self {
        Self {
            event,
            attempts,
            worker_lost,
        }
    }
}

/// The outcome of one event of a claim.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settlement {
    /// The event.
    pub id: EventId,
    /// Its outcome.
    pub outcome: Outcome,
}

impl Settlement {
    /// The outcome of the event `id`.
    #[must_use]
    pub fn new(id: EventId, outcome: Outcome) -> Self {
        Self { id, outcome }
    }
}

/// What the worker did with an event, or what the broker answered for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The broker accepted it. It leaves the outbox.
    Published,
    /// The attempt failed and is counted. The event is due again after `delay`.
    Retry {
        /// How long the event and the later events of its key wait.
        delay: Duration,
        /// What the broker said.
        error: ErrorText,
    },
    /// It can never succeed. It is quarantined at once.
    Dead {
        /// Why.
        reason: ErrorText,
    },
    /// Not attempted, or the failure was not caused by the event. No attempt is counted.
    Released {
        /// How long the event and the later events of its key wait. Zero: due at once.
        delay: Duration,
    },
    /// Not attempted, because its destination pauses. No attempt is counted (S23).
    Held {
        /// The name of the destination, at most [`MAX_DESTINATION`](Outcome::MAX_DESTINATION) bytes and
        /// without NUL.
        destination: Arc<str>,
        /// How long the event and the later events of its key wait, unless
        /// [`resume`](OutboxStorage::resume) ends the wait earlier.
        delay: Duration,
    },
    /// The broker has not answered yet. The event stays in the claim until a later settlement, or
    /// until its lease runs out (S22). A store may let the lease start again with this settlement.
    Kept,
}

impl Outcome {
    /// The most bytes of the name of a destination.
    pub const MAX_DESTINATION: usize = 1024;

    /// Checks the outcome, as each store does before it applies a settlement.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) of `backend` if the name of a destination is longer than
    /// [`MAX_DESTINATION`](Self::MAX_DESTINATION) or has a NUL.
    pub fn validate(&self, backend: &'static str) -> Result<(), OutboxError> {
        let Self::Held { destination, .. } = self else {
            return Ok(());
        };
        let name = object::text("destination", destination, 0, Self::MAX_DESTINATION);
        name.map_err(|problem| OutboxError::invalid(backend, "settle", problem))
    }
}

/// The answer for one entry of [`OutboxStorage::quarantine_events`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum QuarantineOutcome {
    /// Moved from the outbox into the quarantine.
    Moved,
    /// Published, already quarantined, gone, or replayed and not failed since: then the entry counts
    /// failures from before the replay. Forget the entry.
    Missing,
    /// In a live claim, or not claimed yet in a store that blocks keys (S9). Try again later.
    Busy,
}

/// The number of events in an outbox and its quarantine.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Backlog {
    /// Events that are neither published nor quarantined, claimed ones included.
    pub pending: u64,
    /// More events are pending than `pending` says: the store has stopped counting.
    pub pending_is_capped: bool,
    /// When the oldest pending event was created, by its producer's clock.
    pub oldest_pending: Option<SystemTime>,
    /// Events in a claim.
    pub in_flight: u64,
    /// Ordering keys, and events without a key, that wait for a retry or a delayed event, or that a
    /// dead letter blocks.
    pub waiting: u64,
    /// Events in the quarantine.
    pub dead_letters: u64,
    /// For how long the oldest event that is due has been due, by the store's clock. `None`: no event is
    /// due. With it a program can see whether a relay makes progress.
    ///
    /// An event is due from the later of [`created_at`](crate::Event::created_at) and
    /// [`available_at`](crate::Event::available_at), and after a failed attempt from the end of the
    /// retry's delay. It stays due while it is claimed, and while it is released or
    /// [held](Outcome::Held) because its destination pauses. An event that waits for an earlier event
    /// of its key or for a dead letter is not due; before it was claimed for the first time, a store may
    /// take it for due. A store looks at a bounded number of events, in the order of the log.
    pub oldest_due: Option<Duration>,
    /// For how long the oldest dead letter has been in the quarantine, by the store's clock.
    pub oldest_dead_letter: Option<Duration>,
}

#[async_trait]
impl<T: OutboxStorage + ?Sized> OutboxStorage for Arc<T> {
    async fn claim(&self, limit: ClaimLimit, lease: Duration) -> Result<Claim, OutboxError> {
        (**self).claim(limit, lease).await
    }

    async fn settle(
        &self,
        token: ClaimToken,
        settlements: &[Settlement],
    ) -> Result<(), OutboxError> {
        (**self).settle(token, settlements).await
    }

    async fn resume(&self, destination: &str, limit: usize) -> Result<usize, OutboxError> {
        (**self).resume(destination, limit).await
    }

    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        (**self).quarantine_events(entries).await
    }

    fn blocks_key_on_dead_letter(&self) -> bool {
        (**self).blocks_key_on_dead_letter()
    }

    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError> {
        (**self).wait_for_work(at_most).await
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        (**self).backlog().await
    }

    async fn clean_up(&self, limit: usize) -> Result<usize, OutboxError> {
        (**self).clean_up(limit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_that_no_store_can_keep_is_refused_with_what_it_must_be() {
        let problem = |name: &str| {
            let outcome = Outcome::Held {
                destination: name.into(),
                delay: Duration::ZERO,
            };
            outcome
                .validate("memory")
                .map_err(|error| error.to_string())
        };
        assert_eq!(problem(&"x".repeat(1024)), Ok(()));
        assert_eq!(
            problem(&"x".repeat(1025)).unwrap_err(),
            "memory: settle: invalid: destination is 1025 bytes long, but must be 0 to 1024 bytes"
        );
        assert_eq!(
            problem("a\0").unwrap_err(),
            "memory: settle: invalid: destination is \"a\\0\", but must be text without a NUL character"
        );
    }

    #[test]
    fn tokens_of_one_mark_differ_and_have_it() {
        let mark = ClaimMark::new();
        let tokens = [ClaimToken::with_mark(mark), ClaimToken::with_mark(mark)];
        assert_ne!(tokens[0], tokens[1]);
        assert_eq!(tokens.map(|token| token.mark()), [mark; 2]);
        assert_eq!(ClaimMark::from(*mark.as_bytes()), mark);
    }

    #[test]
    fn a_token_is_its_uuid() {
        let uuid = Uuid::max();
        assert_eq!(ClaimToken::from(uuid).as_uuid(), &uuid);
    }
}
