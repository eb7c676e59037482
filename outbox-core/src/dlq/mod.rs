//! Dead-letter bookkeeping: who failed how often, and what waits in the quarantine.

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
