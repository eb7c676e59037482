#![cfg_attr(feature = "dlq", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "dlq"),
    doc = "A transactional outbox, without the quarantine of dead letters."
)]
#![cfg_attr(
    not(feature = "dlq"),
    allow(
        rustdoc::broken_intra_doc_links,
        reason = "docs link to items of the feature `dlq`"
    )
)]

mod clock;
mod config;
pub mod dlq;
pub mod error;
#[cfg(feature = "metrics")]
mod metrics;
pub mod object;
mod observer;
mod outage;
#[cfg(feature = "json")]
mod pause_json;
pub mod processor;
mod registry;
mod relay;
mod reporter;
mod retry;
mod sample;
mod shutdown;
pub mod storage;
mod trace;
mod transport;
mod vitals;
#[cfg(feature = "wire")]
pub mod wire;

pub use clock::Clock;
pub use config::{OutboxConfig, OutboxConfigBuilder};
pub use dlq::model::{DlqEntry, FailedAttempt, HeapSize};
#[cfg(feature = "dlq")]
pub use dlq::processor::{DlqProcessor, TickReport};
#[cfg(feature = "dlq")]
pub use dlq::{DeadLetter, DeadLetterFilter, DeadLetterGroup, DeadLetters, DlqHeap};
pub use error::{ErrorKind, OutboxError};
#[cfg(feature = "metrics")]
pub use metrics::MetricsObserver;
pub use object::{ErrorText, Event, EventId, Headers};
pub use observer::{Observation, Observer};
pub use processor::{OutboxProcessor, PassReport, Pause, Pauses};
pub use registry::{
    BlockedKey, OpenClaim, Overview, RelayId, RelayPause, RelayProgram, RelayRecord, RelayRegistry,
    RelayReport, WaitingEvent,
};
pub use relay::Relay;
pub use storage::{
    Backlog, Claim, ClaimLimit, ClaimMark, ClaimToken, ClaimedEvent, OutboxStorage, Outcome,
    QuarantineOutcome, Settlement,
};
pub use trace::TraceContext;
pub use transport::{
    PublishError, PublishErrorKind, Transport, TransportCheck, check_call_timeout, reconnect_pause,
};
