//! What the flags, the environment and a configuration file set, in this order of precedence.

mod file;
mod period;
mod place;
mod relay;
#[cfg(test)]
mod tests;

pub(crate) use place::{StoreOptions, UrlOptions, Urls};
pub(crate) use relay::RelaySettings;
