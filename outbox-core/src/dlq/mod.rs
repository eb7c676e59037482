//! Failure counts of events (the heap), and events in quarantine (dead letters).

#[cfg(feature = "dlq")]
mod dead_letters;
#[cfg(feature = "dlq")]
mod heap;
pub mod model;
#[cfg(feature = "dlq")]
pub mod processor;

#[cfg(feature = "dlq")]
pub use dead_letters::{DeadLetter, DeadLetterFilter, DeadLetterGroup, DeadLetters};
#[cfg(feature = "dlq")]
pub use heap::DlqHeap;
