//! What the flags, the environment and a configuration file set, in this order of precedence.

mod file;
mod period;
mod place;
mod relay;
#[cfg(test)]
mod tests;

pub(crate) use file::ConfigFile;
pub(crate) use period::Period;
pub(crate) use place::{StoreOptions, UrlOptions, Urls};
pub(crate) use relay::RelaySettings;
