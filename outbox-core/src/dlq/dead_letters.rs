//! The quarantine, as an operator sees it.

use crate::error::OutboxError;
use crate::object::{ErrorText, Event, EventId};
use async_trait::async_trait;
use std::fmt::Debug;
use std::time::SystemTime;

/// Lists, replays and purges quarantined events.
///
/// - **D1** Pages have no gaps and no repeats while rows come and go
///   (`pages_have_no_gaps_and_no_repeats`).
/// - **D2** A replay moves the event back under the same id with a new budget of attempts, and
///   counts the replay; it comes last of its key (`a_replay_keeps_the_id_and_gives_a_new_budget`),
///   or first if it held the key, as S9 of [`OutboxStorage`](crate::storage::OutboxStorage) has it
///   (`a_replay_goes_before_its_successors`).
/// - **D3** An entry that a heap counted before the replay does not quarantine the event again
///   (`a_stale_entry_does_not_quarantine_a_replayed_event`).
/// - **D4** Replay and purge are bounded by `limit`, take fewer where the payloads are large, and can
///   be continued until an answer is empty (`replay_and_purge_are_bounded`).
/// - **D5** A call whose future is dropped at any of its waits is applied to all of its dead letters or to
///   none (`a_dropped_replay_or_purge_is_applied_or_not`).
/// - **D6** A filter means the same dead letters to every call: those that meet all of its conditions
///   (`each_condition_of_a_filter_narrows`, `replay_and_purge_take_what_a_filter_lists`). The groups
///   of the statistics tell of the dead letters that a list shows (`filters_and_statistics_agree`).
///
/// A replay or a purge whose connection is cut is applied so as well, and may be asked for again
/// (`a_cut_replay_or_purge_loses_no_dead_letter`).
///
/// A program that replays also forgets the ids in its heap, so that the new budget is whole.
#[async_trait]
pub trait DeadLetters: Send + Sync + Debug {
    /// Describes up to `limit` dead letters that match, oldest first, after the given position.
    ///
    /// The payloads are not read, so the call is quick however large they are.
    async fn list(
        &self,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, OutboxError>;

    /// One dead letter with its event.
    async fn find(&self, id: EventId) -> Result<Option<(DeadLetter, Event)>, OutboxError>;

    /// Up to `limit` dead letters that match with their events, oldest first, after the given
    /// position: as many as have payloads of at most `bytes` together, but at least one. An empty
    /// answer means that none is left (`an_export_is_bounded_in_bytes`).
    ///
    /// The provided form lists, then finds each.
    async fn export(
        &self,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<(DeadLetter, Event)>, OutboxError> {
        let mut after = after;
        let mut found = Vec::new();
        let mut rest = u64::try_from(bytes).unwrap_or(u64::MAX);
        loop {
            let page = self.list(filter, after, limit).await?;
            let Some(last) = page.last() else {
                return Ok(found);
            };
            after = Some(last.position);
            for dead_letter in &page {
                if !found.is_empty() && dead_letter.payload_size > rest {
                    return Ok(found);
                }
                let whole = self.find(dead_letter.id).await?;
                // Another position: it was replayed since, and died again.
                found.extend(whole.filter(|(now, _)| now.position == dead_letter.position));
                rest = rest.saturating_sub(dead_letter.payload_size);
            }
            // Empty if all of the page were replayed or purged meanwhile.
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Moves up to `limit` dead letters that match back into the outbox, oldest first. Returns
    /// their ids. An empty answer means that none is left (D4).
    async fn replay(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError>;

    /// Deletes up to `limit` dead letters that match, oldest first, for good. Returns their ids. An
    /// empty answer means that none is left (D4).
    async fn purge(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError>;

    /// The `limit` largest groups of dead letters that match, by event type and error, which count what
    /// [`list`](Self::list) shows (`filters_and_statistics_agree`).
    async fn statistics(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetterGroup>, OutboxError>;
}

/// Describes a quarantined event, without its payload and its headers.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The place in the list; grows with each quarantine. The key of paging.
    pub position: u64,
    /// The id of the event.
    pub id: EventId,
    /// The type of the event.
    pub event_type: String,
    /// The media type of the payload.
    pub content_type: String,
    /// The ordering key of the event.
    pub ordering_key: Option<String>,
    /// The bytes of the payload.
    pub payload_size: u64,
    /// When the producer made the event, by the producer's clock.
    pub created_at: SystemTime,
    /// Failed attempts before the quarantine.
    pub failure_count: u32,
    /// The latest error, or the reason of a permanent failure.
    pub last_error: Option<ErrorText>,
    /// The first of these failures.
    pub first_failed_at: SystemTime,
    /// The last of these failures.
    pub last_failed_at: SystemTime,
    /// When the event was moved here, by the store's clock.
    pub quarantined_at: SystemTime,
    /// How often the event had been replayed before.
    pub replays: u32,
}

impl DeadLetter {
    /// Describes `event`; the remaining fields are set to "failed once, just now" and may be
    /// replaced.
    #[must_use]
    pub fn new(position: u64, event: &Event, quarantined_at: SystemTime) -> Self {
        Self {
            position,
            id: event.id,
            event_type: event.event_type.clone(),
            content_type: event.content_type.clone(),
            ordering_key: event.ordering_key.clone(),
            payload_size: event.payload.len() as u64,
            created_at: event.created_at,
            failure_count: 1,
            last_error: None,
            first_failed_at: quarantined_at,
            last_failed_at: quarantined_at,
            quarantined_at,
            replays: 0,
        }
    }
}

/// Which dead letters are meant. All conditions must hold; none set means all dead letters.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DeadLetterFilter {
    /// One of these ids.
    pub ids: Option<Vec<EventId>>,
    /// Exactly this event type.
    pub event_type: Option<String>,
    /// Exactly this ordering key.
    pub ordering_key: Option<String>,
    /// This text somewhere in the last error, case-sensitive.
    pub error_contains: Option<String>,
    /// Quarantined before this time.
    pub before: Option<SystemTime>,
}

impl DeadLetterFilter {
    /// All dead letters.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Only these ids.
    #[must_use]
    pub fn ids(ids: impl IntoIterator<Item = EventId>) -> Self {
        Self {
            ids: Some(ids.into_iter().collect()),
            ..Self::default()
        }
    }

    /// Only this event type.
    #[must_use]
    pub fn event_type(mut self, event_type: impl Into<String>) -> Self {
        self.event_type = Some(event_type.into());
        self
    }

    /// Only this ordering key.
    #[must_use]
    pub fn ordering_key(mut self, key: impl Into<String>) -> Self {
        self.ordering_key = Some(key.into());
        self
    }

    /// Only dead letters whose last error has this text somewhere.
    #[must_use]
    pub fn error_contains(mut self, text: impl Into<String>) -> Self {
        self.error_contains = Some(text.into());
        self
    }

    /// Only dead letters that were quarantined before `time`.
    #[must_use]
    pub fn before(mut self, time: SystemTime) -> Self {
        self.before = Some(time);
        self
    }
}

/// Letters of one event type with one error.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DeadLetterGroup {
    /// The event type.
    pub event_type: String,
    /// The error that they share.
    pub last_error: Option<ErrorText>,
    /// How many there are.
    pub count: u64,
    /// When the first of them was quarantined.
    pub oldest: SystemTime,
    /// When the last of them was quarantined.
    pub newest: SystemTime,
}

impl DeadLetterGroup {
    /// A group of `count` dead letters.
    #[must_use]
    pub fn new(
        event_type: String,
        last_error: Option<ErrorText>,
        count: u64,
        oldest: SystemTime,
        newest: SystemTime,
    ) -> Self {
        Self {
            event_type,
            last_error,
            count,
            oldest,
            newest,
        }
    }
}
