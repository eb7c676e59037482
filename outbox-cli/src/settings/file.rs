//! The configuration file.

use super::place::named;
use super::reader::Reader;
use super::relay::RelaySettings;
use super::secret;
use super::service::{merged, with_secret};
use crate::failure::Failure;
use outbox_core::OutboxConfig;
use serde::Deserialize;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What a TOML file sets. Its keys are the names of the flags. Those of `outbox relay` are in the
/// table `[relay]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    pub(super) store: Option<String>,
    pub(super) heap: Option<String>,
    /// What is set in the table `[relay]`.
    pub(super) relay: Table,
    pub(super) stores: Vec<StoreTable>,
}

/// The settings of a table, and the lines of its keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(super) settings: RelaySettings,
    pub(super) lines: Vec<(String, usize)>,
}

/// A table `[[store]]`. A setting that it lacks is that of `[relay]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreTable {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) url: String,
    pub(super) heap: Option<String>,
    pub(super) own: Table,
}

/// A value of a key that holds a URL.
#[derive(Deserialize)]
struct OfUrl {
    #[serde(deserialize_with = "secret::url")]
    value: Option<String>,
}

impl ConfigFile {
    /// Reads the file; without one nothing is set. All problems are reported, a line each.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let refused = |why: &dyn Display| {
            Failure::Input(format!("configuration file {}: {why}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| refused(&error))?;
        let mut file = Self::parse(&text).map_err(|problems| {
            let problems: Vec<String> = problems
                .iter()
                .map(|why| refused(why).to_string())
                .collect();
            Failure::Input(problems.join("\n"))
        })?;
        path.clone_into(&mut file.path);
        Ok(file)
    }

    /// The file of a text, or all that is wrong with it, in the order of its lines.
    pub(super) fn parse(text: &str) -> Result<Self, Vec<String>> {
        let mut reader = Reader::new(text);
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            for error in errors {
                reader.syntax(error);
            }
            return Err(reader.problems());
        }
        let mut file = Self::default();
        let mut heap_line = 1;
        for (key, value) in root.into_inner() {
            match &**key.get_ref() {
                "store" if value.get_ref().is_array() => file.stores = tables(&mut reader, value),
                "store" => file.store = url(&mut reader, &key, value),
                "heap" => {
                    heap_line = reader.line(key.span().start);
                    file.heap = url(&mut reader, &key, value);
                }
                "relay" => file.relay = reader.table(&key, value),
                _ => reader.unknown(&key, &["store", "heap", "relay"]),
            }
        }
        if !file.stores.is_empty() && file.heap.is_some() {
            reader.problem(
                heap_line,
                "`heap` is that of one store: write it into each table [[store]]",
            );
        }
        match reader.problems() {
            problems if problems.is_empty() => Ok(file),
            problems => Err(problems),
        }
    }

    /// The settings of the relays with the names of their stores, for what is asked of a destination alone.
    pub(crate) fn destinations(
        &self,
        flags: &RelaySettings,
        name: Option<&str>,
    ) -> Result<Vec<(Option<String>, RelaySettings)>, Failure> {
        let flags = with_secret(flags)?;
        let table = |table: &StoreTable| {
            let settings = merged(self, &flags, Some(table));
            (Some(table.name.clone()), settings)
        };
        match name {
            Some(name) => Ok(vec![table(&named(self, name)?)]),
            None if self.stores.is_empty() || flags.to.is_some() => {
                Ok(vec![(None, self.relay_with(&flags))])
            }
            None => Ok(self.stores.iter().map(table).collect()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// `flags`, and the settings of this file where the flags set nothing.
    pub(crate) fn relay_with(&self, flags: &RelaySettings) -> RelaySettings {
        flags.clone().over(self.relay.settings.clone())
    }

    /// The options of a relay with `flags`, and with those of a table `[[store]]`. A refusal names the file
    /// and the line if the flags alone are allowed. Each option that is out of its range is reported.
    pub(crate) fn relay_config(
        &self,
        flags: &RelaySettings,
        own: Option<&StoreTable>,
    ) -> Result<OutboxConfig, Vec<Failure>> {
        let own = own.map(|table| &table.own);
        let mut settings = own.map_or_else(RelaySettings::default, |own| own.settings.clone());
        settings = self.relay_with(&flags.clone().over(settings));
        let mut problems = Vec::new();
        loop {
            let error = match settings.config() {
                Ok(config) if problems.is_empty() => return Ok(config),
                Ok(_) => return Err(problems),
                Err(error) => error,
            };
            if flags.config().is_err() {
                return Err(vec![error.into()]);
            }
            let text = error.to_string();
            let named = |table: &Table| {
                table
                    .lines
                    .iter()
                    .find(|(key, _)| names(&text, key))
                    .cloned()
            };
            let found = own.and_then(named).or_else(|| named(&self.relay));
            let line = found.as_ref().map(|(_, line)| format!("line {line}: "));
            let table = if own.and_then(named).is_some() {
                "[[store]]"
            } else {
                "[relay]"
            };
            problems
                .push(self.refused(format_args!("{}{table}: {text}", line.unwrap_or_default())));
            // Without it, the next one shows.
            let Some((key, _)) = found else {
                return Err(problems);
            };
            settings = settings.without(&key);
        }
    }

    /// The failure that names this file.
    pub(super) fn refused(&self, why: impl Display) -> Failure {
        Failure::Input(format!("configuration file {}: {why}", self.path.display()))
    }
}

/// Whether an error of the options is about this key: `batch size is 0, but …`.
fn names(error: &str, key: &str) -> bool {
    error.contains(&format!("{} is ", key.replace('-', " ")))
}

fn url(
    reader: &mut Reader<'_>,
    key: &Spanned<toml::de::DeString<'_>>,
    value: Spanned<DeValue<'_>>,
) -> Option<String> {
    reader.value::<OfUrl>(key, "value", value)?.value
}

/// The tables `[[store]]`.
fn tables(reader: &mut Reader<'_>, value: Spanned<DeValue<'_>>) -> Vec<StoreTable> {
    let line = reader.line(value.span().start);
    let DeValue::Array(array) = value.into_inner() else {
        return Vec::new();
    };
    if array.is_empty() {
        reader.problem(line, "`store` has no table, but must have one or more");
    }
    let mut tables: Vec<StoreTable> = Vec::new();
    for value in array {
        let Some(table) = table(reader, value) else {
            continue;
        };
        let mut others = tables.iter().filter(|other| !other.name.is_empty());
        if let Some(other) = others.find(|other| other.name == table.name) {
            let why = format!(
                "the store {:?} of line {} has the same name: each needs another one",
                other.name, other.line
            );
            reader.problem(table.line, &why);
        }
        tables.push(table);
    }
    tables
}

fn table(reader: &mut Reader<'_>, value: Spanned<DeValue<'_>>) -> Option<StoreTable> {
    const OWN: &[&str] = &["name", "url", "heap"];
    let line = reader.line(value.span().start);
    let DeValue::Table(values) = value.into_inner() else {
        reader.problem(line, "`store` must be a URL or tables [[store]]");
        return None;
    };
    let mut table = StoreTable {
        line,
        ..StoreTable::default()
    };
    let (mut name, mut store) = (None, None);
    let mut has_url = false;
    for (key, value) in values {
        match &**key.get_ref() {
            "name" => {
                name = reader
                    .value::<Text>(&key, "value", value)
                    .map(|text| text.value);
            }
            "url" => {
                has_url = true;
                store = url(reader, &key, value);
            }
            "heap" => table.heap = url(reader, &key, value),
            name @ ("connections" | "listen" | "log-format") => {
                let line = reader.line(key.span().start);
                let why = format!("`{name}` is of the process: write it into [relay]");
                reader.problem(line, &why);
            }
            _ => reader.setting(&mut table.own, &key, value, OWN),
        }
    }
    match name {
        Some(name) if is_name(&name) => table.name = name,
        Some(name) => reader.problem(
            line,
            &format!(
                "the name of the store is {name:?}, but must be 1 to 63 letters, digits, '-', '_' and '.'"
            ),
        ),
        None => reader.problem(line, "the store has no `name`, but must have one"),
    }
    if !has_url {
        reader.problem(line, "the store has no `url`, but must have one");
    }
    table.url = store.unwrap_or_default();
    Some(table)
}

#[derive(Deserialize)]
struct Text {
    value: String,
}

/// A name has no ':', so it is not mistaken for a URL. It is a label of metrics, and a part of log lines.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=63).contains(&name.len()) && name.bytes().all(allowed)
}
