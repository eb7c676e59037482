//! The suites that check a `DlqHeap`, an `OutboxStorage` with its `DeadLetters`, a `RelayRegistry`, a `Transport`, a consumer's
//! inbox, and a way to append events in the transactions of a data layer.
//!
//! A case is a plain `async fn` that panics when a backend breaks the contract.
#![allow(clippy::missing_panics_doc, reason = "to panic is what a case is for")]

pub mod append;
mod case;
mod check;
mod clock;
mod crash;
mod decorators;
mod effort;
mod folder;
pub mod heap;
pub mod inbox;
mod log;
pub mod registry;
mod run;
pub mod store;
mod suite;
mod tcp_wire;
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
pub use log::{Log, LogLine};
#[doc(hidden)]
pub use pastey::paste as __paste;
#[doc(hidden)]
pub use run::{run, run_case};
pub use tcp_wire::TcpWire;
pub use warnings::warnings;
pub use wire::Wire;
