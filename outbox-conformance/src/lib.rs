//! The suites that check a `DlqHeap`, an `OutboxStorage` with its `DeadLetters`, and a `Transport`.
//!
//! A case is a plain `async fn` that panics when a backend breaks the contract.
#![allow(clippy::missing_panics_doc, reason = "to panic is what a case is for")]

mod case;
mod check;
mod clock;
mod crash;
mod decorators;
mod effort;
mod folder;
mod full_disk;
pub mod heap;
mod run;
pub mod store;
mod suite;
pub mod transport;
mod warnings;
mod wire;

#[doc(hidden)]
pub use case::{Case, Suite};
pub use clock::ManualClock;
pub use crash::{CrashPoint, at_each_point};
pub use decorators::{Around, Decorated, Fails, Faulty, Slow};
pub use effort::{first_seed, seeds};
pub use folder::Folder;
pub use full_disk::{file_on_a_full_disk, on_a_full_disk};
#[doc(hidden)]
pub use pastey::paste as __paste;
#[doc(hidden)]
pub use run::{run, run_case};
pub use warnings::warnings;
pub use wire::Wire;
