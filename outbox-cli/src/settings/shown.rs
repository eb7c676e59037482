//! The settings as a person may see them, with where each comes from.

use super::file::{ConfigFile, Table};
use super::place::{Place, UrlOptions};
use super::relay::RelaySettings;
use super::service::{merged, with_secret};
use crate::failure::Failure;
use crate::wiring;
use serde_json::{Value, json};

/// A setting, without a secret.
pub(crate) struct Shown {
    pub(crate) key: String,
    pub(crate) value: Value,
    /// A flag, the environment, a line of the file, or the default.
    pub(crate) source: String,
}

/// The settings of a store, and its name if it has one.
pub(crate) type OfStore = (Option<String>, Vec<Shown>);

/// Where a flag or a variable sets a key.
pub(crate) type Given<'g> = &'g dyn Fn(&str) -> Option<&'static str>;

impl UrlOptions {
    /// The settings of each store, with its name.
    pub(crate) fn shown(
        &self,
        flags: &RelaySettings,
        given: Given<'_>,
    ) -> Result<Vec<OfStore>, Failure> {
        let file = self.file()?;
        let flags = with_secret(flags)?;
        let places = self.places_of(&file)?;
        let one = |place: &Place| {
            let name = place.name().map(ToOwned::to_owned);
            Ok((name, shown(&file, &flags, place, given)?))
        };
        places.iter().map(one).collect()
    }
}

fn shown(
    file: &ConfigFile,
    flags: &RelaySettings,
    place: &Place,
    given: Given<'_>,
) -> Result<Vec<Shown>, Failure> {
    let own = place.table.as_ref().map(|table| &table.own);
    let in_file = || format!("{}", file.path().display());
    let url = |key: &str, flag: &str, url: &str, is_own: bool| {
        let source = match given(flag) {
            Some(given) => given.to_owned(),
            None if is_own => in_file(),
            None => "default".to_owned(),
        };
        Shown {
            key: key.to_owned(),
            value: json!(url),
            source,
        }
    };
    let store = wiring::shown_place(wiring::STORE, &place.urls.store)?;
    let heap = wiring::shown_place(wiring::HEAP, &place.urls.heap)?;
    let (key, has_heap) = match &place.table {
        Some(table) => ("url", table.heap.is_some()),
        None => ("store", file.heap.is_some()),
    };
    let store_is_given = if place.table.is_some() { "" } else { "store" };
    let mut shown = vec![
        url(key, store_is_given, &store, true),
        url("heap", "heap", &heap, has_heap),
    ];
    let merged = merged(file, flags, place.table.as_ref());
    let defaults = RelaySettings::defaults().values();
    let mut values = merged.values();
    if let Some(to) = &merged.to {
        values.insert("to".to_owned(), json!(wiring::shown_destination(to)?));
    }
    for key in RelaySettings::keys() {
        let line = |table: &Table| {
            table
                .lines
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, line)| *line)
        };
        let line = own.and_then(line).or_else(|| line(&file.relay));
        let (value, source) = match (values.remove(key), given(key), line) {
            (Some(value), Some(given), _) => (value, given.to_owned()),
            (Some(value), None, Some(line)) => (value, format!("{}, line {line}", in_file())),
            (Some(value), None, None) => (value, "environment".to_owned()),
            (None, ..) => match defaults.get(key) {
                Some(value) => (value.clone(), "default".to_owned()),
                None => continue,
            },
        };
        let key = key.to_owned();
        shown.push(Shown { key, value, source });
    }
    Ok(shown)
}
