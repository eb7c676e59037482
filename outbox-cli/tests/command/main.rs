//! Real runs of the command.
#![allow(clippy::unwrap_used, reason = "a test stops at the first error")]

//Xmod bad_input;
//Xmod changes;
//Xmod dead_letters;
mod heap;
mod hold_keys;
//Xmod migrate;
mod newcomer;
mod settings;
mod support;
