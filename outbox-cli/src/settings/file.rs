//! The configuration file.

use super::relay::RelaySettings;
use crate::failure::Failure;
use outbox_core::OutboxConfig;
use serde::Deserialize;
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// What a TOML file sets. Its keys are the names of the flags. Those of `outbox relay` are in the
/// table `[relay]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ConfigFile {
    #[serde(skip)]
    path: PathBuf,
    pub(crate) store: Option<String>,
    pub(crate) heap: Option<String>,
    pub(super) relay: RelaySettings,
}

impl ConfigFile {
    /// Reads the file; without one nothing is set.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let mut file = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        let text = std::fs::read_to_string(path).map_err(|error| file.refused(error))?;
        let parsed: Self =
            toml::from_str(&text).map_err(|error| file.refused(one_line(error, &text)))?;
        (file.store, file.heap, file.relay) = (parsed.store, parsed.heap, parsed.relay);
        Ok(file)
    }

    /// `flags`, and the settings of this file where the flags set nothing.
    pub(crate) fn relay_with(&self, flags: &RelaySettings) -> RelaySettings {
        flags.clone().or(self.relay.clone())
    }

    /// The options of a relay with `flags` and this file. A refusal names the file if the flags alone
    /// are allowed.
    pub(crate) fn relay_config(&self, flags: &RelaySettings) -> Result<OutboxConfig, Failure> {
        self.relay_with(flags).config().map_err(|error| {
            if flags.config().is_ok() {
                self.refused(format_args!("[relay]: {error}"))
            } else {
                error.into()
            }
        })
    }

    /// The failure that names this file.
    fn refused(&self, why: impl Display) -> Failure {
        Failure::Input(format!("configuration file {}: {why}", self.path.display()))
    }
}

/// The line, the key and what is allowed there.
fn one_line(mut error: toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map(|before| before.matches('\n').count() + 1);
    // An error without its input names the key instead of drawing the line.
    error.set_input(None);
    let error = error.to_string().trim_end().replace('\n', " ");
    line.map_or(error.clone(), |line| format!("line {line}: {error}"))
}
