//! The arguments of `outbox destination`.
#![allow(
    clippy::doc_markdown,
    reason = "these comments are the help texts of the command"
)]

use crate::settings::StoreOptions;
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum DestinationCommand {
    /// Lists the destinations that are off.
    List(DestinationsOptions),
    /// Switches a destination on. A relay sends to it within 10 seconds and its next probe
    /// (--breaker-max).
    Enable(EnableOptions),
    /// Switches a destination off: a relay to HTTP endpoints sends nothing to it, and its events wait.
    Disable(DisableOptions),
}

#[derive(Args, Debug)]
pub(crate) struct DestinationsOptions {
    #[command(flatten)]
    pub(crate) store: StoreOptions,
    /// Print a JSON object a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct EnableOptions {
    /// The name, as the list has it.
    pub(crate) destination: String,
    #[command(flatten)]
    pub(crate) store: StoreOptions,
}

#[derive(Args, Debug)]
pub(crate) struct DisableOptions {
    /// The name, as log lines of a relay have it: the URL without its query, or the id of an endpoint.
    pub(crate) destination: String,
    /// Why, for the list.
    #[arg(long, default_value = "switched off by a person")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) store: StoreOptions,
}
