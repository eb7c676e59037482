//! Values that may be secrets: a URL as it is, in a file, or in a variable.

use crate::failure::Failure;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::env;
use std::ffi::OsString;
use std::path::Path;

/// A URL in the configuration file.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "it must be a URL, or { file = \"PATH\" }, or { env = \"NAME\" }"
)]
enum Url {
    Plain(String),
    File(InFile),
    Variable(InVariable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InFile {
    file: std::path::PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InVariable {
    env: String,
}

/// Reads a URL from where the configuration file says.
pub(super) fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let read = match Url::deserialize(deserializer)? {
        Url::Plain(url) => Ok(url),
        Url::File(InFile { file }) => read(&file),
        Url::Variable(InVariable { env: name }) => match set(&name) {
            Some(value) => value
                .into_string()
                .map_err(|_| format!("the variable {name} is not UTF-8")),
            None => Err(format!("the variable {name} is not set")),
        },
    };
    read.map(Some).map_err(D::Error::custom)
}

/// The value of a flag, else of its variable, else that of the file that the variable `NAME_FILE` names.
/// `given` is that of the flag or the variable.
pub(super) fn given(given: Option<&String>, name: &str) -> Result<Option<String>, Failure> {
    let in_file = format!("{name}_FILE");
    let Some(path) = set(&in_file) else {
        return Ok(given.cloned());
    };
    if set(name).is_some() {
        return Err(Failure::Input(format!(
            "{name} and {in_file} are set, but one of them must be"
        )));
    }
    if let Some(flag) = given {
        return Ok(Some(flag.clone()));
    }
    let read = read(Path::new(&path)).map_err(|why| Failure::Input(format!("{in_file}: {why}")))?;
    Ok(Some(read))
}

/// A variable that is empty counts as unset.
pub(super) fn set(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The text of a file, without the line break that an editor puts behind it.
fn read(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(format!("{} is empty, but must hold a URL", path.display()));
    }
    Ok(text.to_owned())
}
