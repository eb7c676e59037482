//! What the flags, the environment and a configuration file set, in this order of precedence.

mod file;
mod log_format;
mod period;
mod place;
mod reader;
mod relay;
mod secret;
mod service;
mod shown;
#[cfg(test)]
mod tests;

pub(crate) use file::ConfigFile;
pub(crate) use log_format::{LogFormat, innermost};
pub(crate) use period::Period;
pub(crate) use place::{Place, StoreOptions, UrlOptions, Urls};
pub(crate) use relay::RelaySettings;
pub(crate) use service::{Plan, ServiceSettings};
pub(crate) use shown::Shown;
