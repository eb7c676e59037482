//! The relays of a store, their claims, and the events that wait: for an operator.
//!
//! Each clause (R1, R2, …) is checked by cases of the crate `outbox-conformance`.

use crate::error::OutboxError;
use crate::object::{ErrorText, EventId, cut};
use crate::storage::{ClaimMark, ClaimToken};
use async_trait::async_trait;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// Keeps one row for each relay, and shows an operator what the relays do. An ability that a store may have
/// next to [`OutboxStorage`](crate::OutboxStorage).
///
/// All times are those of the store's clock, so the clock of a relay or of an operator does not matter.
///
/// - **R1** A report writes the row of its relay: what it says, since when the relay is known, and
///   when it was heard. It changes no row of another relay.
/// - **R2** A withdrawal removes the row of its relay and no other, and it may be repeated.
/// - **R3** A report removes the rows of relays that were not heard for longer than
///   [`SILENCE`](RelayReport::SILENCE). Beyond [`MAX_RELAYS`](RelayReport::MAX_RELAYS) rows it
///   removes those that were not heard for the longest time.
/// - **R4** The overview has each open claim with its number of events and the end of its lease, also
///   after that end, until another claim takes it over. A claim is that of the relay that reports through
///   the handle that made it, or through a clone of it.
/// - **R5** The overview has the first waiting event of each key, the one that was created first
///   before the others, with its failed attempts, the last error, and when it is due.
/// - **R6** The overview has the keys that a dead letter blocks, with the first dead letter of each.
/// - **R7** Each list of an overview has at most as many items as it was asked for, and an overview
///   changes nothing.
/// - **R8** A report or withdrawal whose future is dropped is applied or not, and later calls on the
///   handle work.
#[async_trait]
pub trait RelayRegistry: Send + Sync + Debug {
    /// Writes the row of a relay.
    ///
    /// # Errors
    ///
    /// On an error nothing is written, unless the reply was lost.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the row may be written.
    async fn report(&self, report: &RelayReport) -> Result<(), OutboxError>;

    /// Removes the row of a relay that has stopped.
    ///
    /// # Errors
    ///
    /// On an error the row stays, unless the reply was lost. It disappears by itself after
    /// [`SILENCE`](RelayReport::SILENCE).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the row may be removed.
    async fn withdraw(&self, id: RelayId) -> Result<(), OutboxError>;

    /// The relays, the open claims, the events that wait, and the keys that are blocked: at most
    /// `limit` of each. The lists are read one after another.
    ///
    /// A store looks at a bounded number of waiting events, in the order in which they came, so a key
    /// with many events may hide others. An event of a key that waits or is blocked may be listed until
    /// a claim has found that out.
    async fn overview(&self, limit: usize) -> Result<Overview, OutboxError>;
}

/// Identifies one run of a relay.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RelayId(Uuid);

impl RelayId {
    /// A new, random id.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::new_v4())
    }

    /// The id as a UUID.
    #[must_use]
    pub fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl Default for RelayId {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Uuid> for RelayId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The program that a relay runs in, and where the relay publishes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RelayProgram {
    host: String,
    process: u32,
    version: String,
    destination: Option<String>,
}

impl RelayProgram {
    /// The most bytes of the name of a host.
    pub const MAX_HOST: usize = 255;
    /// The most bytes of a version.
    pub const MAX_VERSION: usize = 100;
    /// The most bytes of a destination.
    pub const MAX_DESTINATION: usize = 512;

    /// A process on a host, and the version of its program. Longer texts are cut, and NUL is removed.
    #[must_use]
    pub fn new(host: &str, process: u32, version: &str) -> Self {
        Self {
            host: cut(host, Self::MAX_HOST),
            process,
            version: cut(version, Self::MAX_VERSION),
            destination: None,
        }
    }

    /// Sets where the relay publishes to, such as `nats://nats.example?subject=shop.{type}`: a URL without a
    /// login or a secret, because each operator of the store sees it. A longer text is cut, and NUL is removed.
    ///
    /// `outbox doctor` warns if relays of one store have different destinations. By default the destination
    /// is not known, and it is compared with none.
    #[must_use]
    pub fn publishing_to(mut self, destination: &str) -> Self {
        self.destination = Some(cut(destination, Self::MAX_DESTINATION));
        self
    }

    /// The name of the host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The id of the process on its host.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.process
    }

    /// The version of the program.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where the relay publishes to. `None` if it does not say so.
    #[must_use]
    pub fn destination(&self) -> Option<&str> {
        self.destination.as_deref()
    }
}

/// What a relay says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RelayReport {
    /// The relay.
    pub id: RelayId,
    /// Where it runs, and where it publishes to.
    pub program: RelayProgram,
    /// How long ago it last claimed or settled without an error; `None` if it never did.
    pub last_pass: Option<Duration>,
    /// The last error of the store or of the heap, and how long ago it came. It stays after the store
    /// works again.
    pub last_error: Option<(ErrorText, Duration)>,
    /// The destinations that get no events for now, at most [`MAX_PAUSES`](Self::MAX_PAUSES).
    pub pauses: Vec<RelayPause>,
}

impl RelayReport {
    /// How often a relay reports: every 10 seconds, and within a second after a destination pauses or no longer
    /// does.
    pub const INTERVAL: Duration = Duration::from_secs(10);
    /// A relay that was not heard for a day is gone (R3).
    pub const SILENCE: Duration = Duration::from_secs(24 * 3600);
    /// The most relays that a store keeps (R3).
    pub const MAX_RELAYS: usize = 1000;
    /// The most pauses of a report.
    pub const MAX_PAUSES: usize = 20;

    /// A report without an error and without pauses.
    #[must_use]
    pub fn new(id: RelayId, program: RelayProgram) -> Self {
        Self {
            id,
            program,
            last_pass: None,
            last_error: None,
            pauses: Vec::new(),
        }
    }
}

/// A destination that gets no events from a relay for now.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RelayPause {
    /// The destination; `None` for the whole broker.
    pub destination: Option<String>,
    /// The kind of the latest error, as [`PublishErrorKind::name`](crate::PublishErrorKind::name).
    pub kind: String,
    /// The text of the latest error.
    pub error: String,
    /// For how long it had lasted when the relay reported, in whole seconds.
    pub lasts: Duration,
}

impl RelayPause {
    /// The most bytes of each text.
    pub const MAX_BYTES: usize = 512;

    /// A pause. Longer texts are cut, and NUL is removed.
    #[must_use]
    pub fn new(destination: Option<&str>, kind: &str, error: &str, lasts: Duration) -> Self {
        let text = |text| cut(text, Self::MAX_BYTES);
        Self {
            destination: destination.map(text),
            kind: text(kind),
            error: text(error),
            lasts: Duration::from_secs(lasts.as_secs()),
        }
    }
}

/// What a store knows of its relays and of what waits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Overview {
    /// The store's clock.
    pub now: SystemTime,
    /// The relays, the one that was heard last first.
    pub relays: Vec<RelayRecord>,
    /// The open claims, the one whose lease ends first first.
    pub claims: Vec<OpenClaim>,
    /// The first waiting event of each key, the oldest first.
    pub waiting: Vec<WaitingEvent>,
    /// The keys that a dead letter blocks, the longest blocked first.
    pub blocked: Vec<BlockedKey>,
}

impl Overview {
    /// An overview of an empty store.
    #[must_use]
    pub fn new(now: SystemTime) -> Self {
        Self {
            now,
            relays: Vec::new(),
            claims: Vec::new(),
            waiting: Vec::new(),
            blocked: Vec::new(),
        }
    }

    /// The relay whose handle made a claim. `None` if it has not reported, or has reported no more.
    #[must_use]
    pub fn relay_of(&self, claim: &OpenClaim) -> Option<&RelayRecord> {
        let mark = claim.token.mark();
        self.relays.iter().find(|relay| relay.mark == mark)
    }
}

/// The row of a relay.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RelayRecord {
    /// The relay.
    pub id: RelayId,
    /// The mark of the claims that its handle makes.
    pub mark: ClaimMark,
    /// Where it runs, and where it publishes to.
    pub program: RelayProgram,
    /// Its first report.
    pub since: SystemTime,
    /// Its last report.
    pub heard: SystemTime,
    /// When it last claimed or settled without an error.
    pub last_pass: Option<SystemTime>,
    /// The last error of the store or of the heap, and when it came.
    pub last_error: Option<(ErrorText, SystemTime)>,
    /// The destinations that got no events at its last report.
    pub pauses: Vec<RelayPause>,
}

impl RelayRecord {
    /// The row that `report` makes at `now` through the handle with `mark`. `since`: its first report.
    #[must_use]
    pub fn new(report: &RelayReport, mark: ClaimMark, since: SystemTime, now: SystemTime) -> Self {
        let at = |ago: Duration| now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH);
        Self {
            id: report.id,
            mark,
            program: report.program.clone(),
            since,
            heard: now,
            last_pass: report.last_pass.map(at),
            last_error: report
                .last_error
                .as_ref()
                .map(|(error, ago)| (error.clone(), at(*ago))),
            pauses: report
                .pauses
                .iter()
                .take(RelayReport::MAX_PAUSES)
                .cloned()
                .collect(),
        }
    }
}

/// A claim that is not settled.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct OpenClaim {
    /// The claim.
    pub token: ClaimToken,
    /// How many events it has.
    pub events: u64,
    /// The end of its lease. After that another claim takes it over.
    pub until: SystemTime,
    /// The parts of the log that it has, in a store that leases parts. Others claim no events of them.
    pub lanes: Vec<u16>,
}

impl OpenClaim {
    /// A claim without lanes.
    #[must_use]
    pub fn new(token: ClaimToken, events: u64, until: SystemTime) -> Self {
        Self {
            token,
            events,
            until,
            lanes: Vec::new(),
        }
    }
}

/// The first waiting event of its key, or one without a key.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct WaitingEvent {
    /// The event.
    pub id: EventId,
    /// Its type.
    pub event_type: String,
    /// Its key.
    pub ordering_key: Option<String>,
    /// When it was created, by its producer's clock.
    pub created_at: SystemTime,
    /// When it is due; in the past if it is due now.
    pub due_at: SystemTime,
    /// Its failed attempts.
    pub attempts: u32,
    /// The error of the last one.
    pub last_error: Option<ErrorText>,
    /// The destination for which it is [held](crate::Outcome::Held).
    pub held_for: Option<Arc<str>>,
}

impl WaitingEvent {
    /// An event that has not failed and is not held.
    #[must_use]
    pub fn new(
        id: EventId,
        event_type: String,
        created_at: SystemTime,
        due_at: SystemTime,
    ) -> Self {
        Self {
            id,
            event_type,
            ordering_key: None,
            created_at,
            due_at,
            attempts: 0,
            last_error: None,
            held_for: None,
        }
    }
}

/// A key whose later events wait for a dead letter.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct BlockedKey {
    /// The key.
    pub ordering_key: String,
    /// The first dead letter that blocks it.
    pub dead_letter: EventId,
    /// When that was quarantined.
    pub since: SystemTime,
    /// Its last error.
    pub last_error: Option<ErrorText>,
}

impl BlockedKey {
    /// A key that `dead_letter` blocks since a time.
    #[must_use]
    pub fn new(ordering_key: String, dead_letter: EventId, since: SystemTime) -> Self {
        Self {
            ordering_key,
            dead_letter,
            since,
            last_error: None,
        }
    }
}

#[async_trait]
impl<T: RelayRegistry + ?Sized> RelayRegistry for Arc<T> {
    async fn report(&self, report: &RelayReport) -> Result<(), OutboxError> {
        (**self).report(report).await
    }

    async fn withdraw(&self, id: RelayId) -> Result<(), OutboxError> {
        (**self).withdraw(id).await
    }

    async fn overview(&self, limit: usize) -> Result<Overview, OutboxError> {
        (**self).overview(limit).await
    }
}
