//! The JSON format of CloudEvents.

use super::read::{Fields, refused};
use super::text;
use super::write::is_attribute;
use crate::error::OutboxError;
use crate::object::{Event, Headers};
use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use bytes::Bytes;
use serde::Serializer;
use serde::ser::SerializeMap;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// What the attributes and the punctuation take, roughly.
const ENVELOPE: usize = 512;

/// Some senders leave out the padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The payload in the member that keeps each of its bytes.
enum Data<'a> {
    Missing,
    Json(&'a RawValue),
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> Data<'a> {
    fn of(event: &'a Event) -> Self {
        let payload = &event.payload;
        if payload.is_empty() {
            return Self::Missing;
        }
        if text::is_json(&event.content_type) {
            // White space around the value is not a part of it.
            let json = serde_json::from_slice::<&RawValue>(payload).ok();
            let whole = json.filter(|json| json.get().len() == payload.len());
            return whole.map_or(Self::Binary(payload), Self::Json);
        }
        match str::from_utf8(payload) {
            Ok(text) if text::is_utf8_text(&event.content_type) => Self::Text(text),
            _ => Self::Binary(payload),
        }
    }
}

pub(super) fn write(source: &str, event: &Event, time: &str) -> serde_json::Result<Vec<u8>> {
    let mut body = Vec::with_capacity(event.payload.len() + ENVELOPE);
    let mut serializer = serde_json::Serializer::new(&mut body);
    let mut members = serializer.serialize_map(None)?;
    members.serialize_entry("specversion", "1.0")?;
    members.serialize_entry(
        "id",
        event.id.as_uuid().hyphenated().encode_lower(&mut [0; 36]),
    )?;
    members.serialize_entry("source", source)?;
    members.serialize_entry("type", &event.event_type)?;
    members.serialize_entry("time", time)?;
    members.serialize_entry("datacontenttype", &event.content_type)?;
    if let Some(key) = event.ordering_key.as_deref().filter(|key| !key.is_empty()) {
        members.serialize_entry("partitionkey", key)?;
    }
    for (name, value) in &event.headers {
        if is_attribute(name, value) {
            members.serialize_entry(name, value)?;
        }
    }
    match Data::of(event) {
        Data::Missing => {}
        Data::Json(json) => members.serialize_entry("data", json)?,
        Data::Text(text) => members.serialize_entry("data", text)?,
        Data::Binary(bytes) => members.serialize_entry("data_base64", &STANDARD.encode(bytes))?,
    }
    members.end()?;
    Ok(body)
}

/// The members of a JSON object that are not null.
struct Members<'b>(BTreeMap<String, &'b RawValue>);

/// Reads the body of a message that came with these `headers`.
pub(super) fn read(
    mut fields: Fields<'_>,
    mut headers: Headers,
    body: &Bytes,
) -> Result<Event, OutboxError> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(body).map_err(|error| {
        let allowed = "an object in the JSON format of CloudEvents";
        super::invalid(
            "read",
            format!("body is not JSON ({error}), but must be {allowed}"),
        )
    })?;
    let mut members = Members(members);
    let version = members.text("specversion")?;
    super::read::check_version("specversion", version.as_deref())?;
    fields.id = members.text("id")?.map(Into::into);
    fields.event_type = members.text("type")?.map(Into::into);
    fields.created_at = members.text("time")?.map(Into::into);
    if let Some(key) = members.text("partitionkey")? {
        fields.key = Some(key.into());
    }
    members.text("source")?;
    let content_type = members.text("datacontenttype")?;
    let data = members.data(content_type.as_deref(), body)?;
    // Without a type, `data` is JSON, and `data_base64` may be anything.
    fields.content_type = content_type.map(Into::into).or(match &data {
        Some((_, true)) => Some("application/json".into()),
        _ => None,
    });
    for (name, value) in members.0 {
        if value.get() != "null" {
            let text = serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned());
            headers.insert(name, text);
        }
    }
    let payload = data.map(|(payload, _)| payload).unwrap_or_default();
    fields.event(&super::binding::MEMBERS, headers, payload)
}

impl<'b> Members<'b> {
    fn take(&mut self, name: &str) -> Option<&'b RawValue> {
        self.0.remove(name)
    }

    /// A member that must be a string.
    fn text(&mut self, name: &str) -> Result<Option<String>, OutboxError> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => serde_json::from_str(value.get())
                .map_err(|_| refused(name, value.get(), "a string")),
        }
    }

    /// The payload, and whether it was in `data`.
    fn data(
        &mut self,
        content_type: Option<&str>,
        body: &Bytes,
    ) -> Result<Option<(Bytes, bool)>, OutboxError> {
        let is_json = content_type.is_none_or(text::is_json);
        let data = self.take("data");
        let base64 = self.text("data_base64")?;
        match (data, base64) {
            (None, None) => Ok(None),
            (Some(data), Some(_)) if data.get() != "null" => {
                let allowed = "absent, as data_base64 is present";
                Err(refused("data", data.get(), allowed))
            }
            (_, Some(base64)) => match LENIENT.decode(&base64) {
                Ok(bytes) => Ok(Some((bytes.into(), false))),
                Err(_) => Err(refused("data_base64", &base64, "base64")),
            },
            (Some(data), None) if is_json => {
                Ok(Some((body.slice_ref(data.get().as_bytes()), true)))
            }
            (Some(data), None) if data.get() == "null" => Ok(None),
            (Some(data), None) => {
                let text = serde_json::from_str::<String>(data.get());
                let allowed = "a string, as datacontenttype is not JSON";
                let text = text.map_err(|_| refused("data", data.get(), allowed))?;
                Ok(Some((text.into(), true)))
            }
        }
    }
}
