//! The form of the log, which is known before a command reads its configuration file.

use clap::{ArgMatches, ValueEnum};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The form of the lines on stderr.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// For a person.
    Text,
    /// For a program: one object a line.
    Json,
}

impl LogFormat {
    /// What the configuration file of a command sets. The command reads the file later, and reports what is wrong
    /// with it. A pipe is not read, because it can be read only once.
    pub(crate) fn of_file(matches: &ArgMatches) -> Option<Self> {
        let path = innermost(matches).try_get_one::<PathBuf>("config").ok()??;
        let is_file = path.metadata().ok()?.is_file();
        let text = is_file.then(|| std::fs::read_to_string(path))?.ok()?;
        let file: toml::Table = text.parse().ok()?;
        let format = file.get("relay")?.get("log-format")?.as_str()?;
        Self::from_str(format, false).ok()
    }
}

/// The matches of the subcommand that was called.
pub(crate) fn innermost(matches: &ArgMatches) -> &ArgMatches {
    let inner = matches.subcommand();
    inner.map_or(matches, |(_, matches)| innermost(matches))
}
