//! The traits and the processors of a transactional outbox with a dead-letter queue.
#![cfg_attr(not(feature = "dlq"), allow(rustdoc::broken_intra_doc_links))]

mod clock;
pub mod dlq;
pub mod error;
pub mod object;
pub mod storage;
mod transport;

pub use clock::Clock;
pub use dlq::model::{DlqEntry, FailedAttempt, HeapSize};
#[cfg(feature = "dlq")]
pub use dlq::{DeadLetter, DeadLetterFilter, DeadLetterGroup, DeadLetters, DlqHeap};
pub use error::{ErrorKind, InvalidValue, OutboxError};
pub use object::{ErrorText, Event, EventId, Headers};
pub use storage::{
    Backlog, Claim, ClaimToken, ClaimedEvent, OutboxStorage, Outcome, QuarantineOutcome, Settlement,
};
pub use transport::{PublishError, PublishErrorKind, Transport};
