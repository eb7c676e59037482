//! What a relay shows over HTTP: `/metrics`, and three answers to "how is it?".
//!
//! A probe reads what observers have noted before, so it answers at once while a store hangs.

mod ask;
mod board;
mod listener;
mod pages;
mod progress;
mod store;

pub(crate) use ask::{Endpoint, healthcheck};
pub(crate) use board::Board;
pub(crate) use listener::Listener;
pub(crate) use store::StoreHealth;
