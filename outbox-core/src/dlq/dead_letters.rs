//! The contract between the quarantine of a store and an operator's tools.

use crate::error::OutboxError;
use crate::object::{ErrorText, Event, EventId};
use async_trait::async_trait;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::SystemTime;

/// Lists, replays and purges dead letters, which are quarantined events.
///
/// - **D1** Pages of a list have no gaps and no repeats while dead letters come and go.
/// - **D2** A replay moves the event back to the outbox with the same id, no failed attempts and one
///   more replay. It comes last of its key, or first if its dead letter blocked the key (S9 of
///   [`OutboxStorage`](crate::storage::OutboxStorage)).
/// - **D3** An entry that a heap counted before the replay does not quarantine the event again.
/// - **D4** A replay or a purge takes at most `limit` dead letters, oldest first, and may take fewer
///   where payloads are large. An empty answer means that none is left.
/// - **D5** A replay or a purge whose future is dropped is applied to all of its dead letters or to
///   none.
/// - **D6** A filter selects the same dead letters in every method: those that meet all of its
///   conditions.
/// - **D7** A page of an export has payloads of at most `bytes` together, or a single dead letter,
///   and the pages have every dead letter with its event.
///
/// A program that replays should also forget the ids in its heap. Otherwise failures from before the
/// replay count towards the next quarantine.
///
/// # Example
///
/// ```
/// # use outbox_core::{DeadLetterFilter, DeadLetters, OutboxError};
/// async fn replay_timeouts(store: &impl DeadLetters) -> Result<usize, OutboxError> {
///     let filter = DeadLetterFilter::all().event_type("order.placed").error_contains("timeout");
///     let mut replayed = 0;
///     loop {
///         let ids = store.replay(&filter, 100).await?;
///         replayed += ids.len();
///         if ids.is_empty() {
///             return Ok(replayed);
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait DeadLetters: Send + Sync + Debug {
    /// Describes up to `limit` dead letters that match, oldest first, after the position `after`.
    ///
    /// Payloads are not read, so their size does not matter.
    async fn list(
        &self,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, OutboxError>;

    /// One dead letter with its event.
    async fn find(&self, id: EventId) -> Result<Option<(DeadLetter, Event)>, OutboxError>;

    /// Returns up to `limit` dead letters that match with their events, oldest first, after the
    /// position `after`.
    ///
    /// The payloads have at most `bytes` together, but there is at least one dead letter. An empty
    /// answer means that none is left. The provided form lists the dead letters, then finds each.
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
                // At another position it is a new dead letter: it was replayed and failed again.
                found.extend(whole.filter(|(now, _)| now.position == dead_letter.position));
                rest = rest.saturating_sub(dead_letter.payload_size);
            }
            // Empty if the whole page was replayed or purged in between.
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Moves up to `limit` dead letters that match back into the outbox, oldest first, and returns
    /// their ids. Call again until the answer is empty (D4).
    ///
    /// # Errors
    ///
    /// On an error nothing is moved, unless the reply was lost.
    async fn replay(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError>;

    /// Deletes up to `limit` dead letters that match permanently, oldest first, and returns their ids.
    /// Call again until the answer is empty (D4).
    ///
    /// # Errors
    ///
    /// On an error nothing is deleted, unless the reply was lost.
    async fn purge(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError>;

    /// Groups the dead letters that match by event type and error, and returns the `limit` largest
    /// groups.
    async fn statistics(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetterGroup>, OutboxError>;
}

#[async_trait]
impl<T: DeadLetters + ?Sized> DeadLetters for Arc<T> {
    async fn list(
        &self,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, OutboxError> {
        (**self).list(filter, after, limit).await
    }

    async fn find(&self, id: EventId) -> Result<Option<(DeadLetter, Event)>, OutboxError> {
        (**self).find(id).await
    }

    async fn export(
        &self,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<(DeadLetter, Event)>, OutboxError> {
        (**self).export(filter, after, limit, bytes).await
    }

    async fn replay(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        (**self).replay(filter, limit).await
    }

    async fn purge(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<EventId>, OutboxError> {
        (**self).purge(filter, limit).await
    }

    async fn statistics(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetterGroup>, OutboxError> {
        (**self).statistics(filter, limit).await
    }
}

/// Describes a dead letter, without the payload and the headers of its event.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The position in the list, for paging. It grows with each quarantine.
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
    /// When the producer created the event, by the producer's clock.
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
    /// How often the event was replayed before this quarantine.
    pub replays: u32,
}

impl DeadLetter {
    /// Describes `event` as failed once, at `quarantined_at`. The fields may be replaced.
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

/// Selects dead letters that meet all of its conditions. Without a condition it selects all.
///
/// ```
/// # use outbox_core::{DeadLetterFilter, EventId};
/// # let (first, second) = (EventId::new(), EventId::new());
/// let filter = DeadLetterFilter::all().ids([first, second]).event_type("order.placed");
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DeadLetterFilter {
    /// One of these ids.
    pub ids: Option<Vec<EventId>>,
    /// Exactly this event type.
    pub event_type: Option<String>,
    /// Exactly this ordering key.
    pub ordering_key: Option<String>,
    /// The last error contains this text (case-sensitive).
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

    /// Only these ids. An empty list selects nothing.
    #[must_use]
    pub fn ids(mut self, ids: impl IntoIterator<Item = EventId>) -> Self {
        self.ids = Some(ids.into_iter().collect());
        self
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

    /// Only dead letters whose last error contains `text`.
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

/// The dead letters that have the same event type and the same error.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DeadLetterGroup {
    /// The event type.
    pub event_type: String,
    /// Their error.
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
