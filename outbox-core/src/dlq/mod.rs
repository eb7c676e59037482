//! Dead-letter bookkeeping: who failed how often, and what waits in the quarantine.

#[cfg(feature = "dlq")]
mod heap;
#[cfg(feature = "dlq")]
mod letters;
pub mod model;
#[cfg(feature = "dlq")]
pub mod processor;

#[cfg(feature = "dlq")]
pub use heap::DlqHeap;
#[cfg(feature = "dlq")]
pub use letters::{DeadLetter, DeadLetterFilter, DeadLetterGroup, DeadLetters};
