//! The column `headers`.

use outbox_core::Headers;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A value that is not a string becomes its JSON text, because programs in other languages also insert
/// numbers.
pub(crate) fn headers(json: &str) -> Result<Headers, String> {
    let raw: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(json).map_err(|error| format!("the headers: {error}"))?;
    raw.into_iter()
        .map(|(name, value)| {
            let value = value.get();
            if !value.starts_with('"') {
                return Ok((name, value.to_owned()));
            }
            let text = serde_json::from_str(value);
            text.map(|text| (name, text))
                .map_err(|error| format!("a header: {error}"))
        })
        .collect()
}
