//! Reads the values of a configuration file, and keeps all that is wrong with them.

use super::file::Table;
use super::relay::RelaySettings;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, ValueDeserializer};

pub(super) struct Reader<'t> {
    text: &'t str,
    problems: Vec<(usize, String)>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            problems: Vec::new(),
        }
    }

    /// What is wrong, in the order of the lines.
    pub(super) fn problems(&mut self) -> Vec<String> {
        self.problems.sort_by_key(|(line, _)| *line);
        let problems = self.problems.drain(..);
        problems
            .map(|(line, why)| format!("line {line}: {why}"))
            .collect()
    }

    /// The line of a place in the text, which counts from 1.
    pub(super) fn line(&self, place: usize) -> usize {
        let before = self.text.get(..place).unwrap_or(self.text);
        before.matches('\n').count() + 1
    }

    pub(super) fn problem(&mut self, line: usize, why: &str) {
        self.problems.push((line, why.to_owned()));
    }

    /// A mistake in the TOML itself. On one line the first is enough, as it causes the others.
    pub(super) fn syntax(&mut self, error: toml::de::Error) {
        let line = error.span().map_or(1, |span| self.line(span.start));
        if self.problems.iter().all(|(other, _)| *other != line) {
            self.problem(line, &one_line(error));
        }
    }

    pub(super) fn unknown(&mut self, key: &Spanned<DeString<'_>>, allowed: &[&str]) {
        let line = self.line(key.span().start);
        let allowed: Vec<String> = allowed.iter().map(|key| format!("`{key}`")).collect();
        let why = format!(
            "unknown key `{}`; allowed: {}",
            key.get_ref(),
            allowed.join(", ")
        );
        self.problem(line, &why);
    }

    /// The value of a key as the field `field` of `T`.
    pub(super) fn value<T: DeserializeOwned>(
        &mut self,
        key: &Spanned<DeString<'_>>,
        field: &'static str,
        value: Spanned<DeValue<'_>>,
    ) -> Option<T> {
        let span = value.span();
        let mut table = DeTable::new();
        table.insert(Spanned::new(key.span(), field.into()), value);
        let table = Spanned::new(span.clone(), DeValue::Table(table));
        match T::deserialize(ValueDeserializer::from(table)) {
            Ok(value) => Some(value),
            Err(error) => {
                let line = self.line(error.span().unwrap_or(span).start);
                let why = format!("`{}`: {}", key.get_ref(), one_line(error));
                self.problem(line, &why);
                None
            }
        }
    }

    /// The table `[relay]`.
    pub(super) fn table(
        &mut self,
        key: &Spanned<DeString<'_>>,
        value: Spanned<DeValue<'_>>,
    ) -> Table {
        let mut table = Table::default();
        let DeValue::Table(values) = value.into_inner() else {
            let line = self.line(key.span().start);
            self.problem(line, "`relay` must be a table");
            return table;
        };
        for (key, value) in values {
            self.setting(&mut table, &key, value, &[]);
        }
        table
    }

    /// A key of [`RelaySettings`]. Each of them is read separately, so that no mistake hides another.
    pub(super) fn setting(
        &mut self,
        table: &mut Table,
        key: &Spanned<DeString<'_>>,
        value: Spanned<DeValue<'_>>,
        own: &[&str],
    ) {
        let keys = RelaySettings::keys();
        let Some(name) = keys.iter().find(|name| **name == &**key.get_ref()) else {
            let allowed: Vec<&str> = own.iter().copied().chain(keys).collect();
            return self.unknown(key, &allowed);
        };
        let line = self.line(key.span().start);
        table.lines.push(((*name).to_owned(), line));
        if let Some(one) = self.value::<RelaySettings>(key, name, value) {
            table.settings = std::mem::take(&mut table.settings).or(one);
        }
    }
}

/// What went wrong, without a drawing of the line.
fn one_line(mut error: toml::de::Error) -> String {
    error.set_input(None);
    error.message().trim_end().replace('\n', " ")
}
