//! A message to an event.

use super::binding::{Binding, CONTENT_TYPE, MOVED, Names, OURS, attribute, strip_prefix};
use super::{STRUCTURED, invalid, structured, text};
use crate::error::OutboxError;
use crate::object::{Event, Headers};
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt::Display;
use std::time::SystemTime;

/// Reads the event of a message that [`WireForm::write`](super::WireForm::write) has written in any
/// mode, or that another program has written as a CloudEvent 1.0.
///
/// `content_type` is the content type of the message, if the broker has a separate field for it; else
/// it may be among `headers`. Names of headers may be in any case and order. The content type and the
/// headers decide the mode: `outbox-id` means raw, a content type of `application/cloudevents+json`
/// structured, and an attribute `specversion` binary. A JSON object without a content type and without
/// any of these is read as structured.
///
/// Headers and attributes that have no field of an [`Event`] become its headers; the `source` of a
/// CloudEvent does not. A CloudEvent without `time` is created now, and a message without a content
/// type has `application/octet-stream`, or `application/json` for the member `data`.
///
/// # Errors
///
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the message is not an event, or a field
/// is missing, is there twice or has a wrong value: the error names the header or the member, its
/// value and what is allowed. The id of a CloudEvent may be any text, but must be a UUID here.
pub fn read<'h>(
    binding: Binding,
    content_type: Option<&'h str>,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
    body: Bytes,
) -> Result<Event, OutboxError> {
    let mut found = Found::default();
    for (name, value) in headers {
        found.add(binding, name, value)?;
    }
    if let Some(content_type) = content_type {
        found.fields.content_type = Some(content_type.into());
    }
    found.decode_content_type(binding)?;
    let content_type = found.fields.content_type.as_deref();
    let media_type = content_type.map(text::media_type).unwrap_or_default();
    if found.is_raw {
        return found.fields.event(&RAW, found.headers, body);
    }
    if media_type.eq_ignore_ascii_case(STRUCTURED) {
        return structured::read(found.fields, found.headers, &body);
    }
    if strip_prefix(media_type, "application/cloudevents").is_some() {
        return Err(refused(CONTENT_TYPE, media_type, STRUCTURED));
    }
    if found
        .attributes
        .iter()
        .any(|attribute| attribute.is("specversion"))
    {
        return found.binary(binding, body);
    }
    if content_type.is_none() && body.trim_ascii_start().starts_with(b"{") {
        return structured::read(found.fields, found.headers, &body);
    }
    let names = binding.names();
    Err(invalid(
        "read",
        format!(
            "message has no header outbox-id or {}, so its content type must be {STRUCTURED}",
            names.specversion
        ),
    ))
}

const RAW: Names = Names {
    id: "outbox-id",
    event_type: "outbox-type",
    time: "outbox-created-at",
    ..super::binding::MEMBERS
};

/// What the headers have.
#[derive(Default)]
struct Found<'h> {
    is_raw: bool,
    fields: Fields<'h>,
    attributes: Vec<Attribute<'h>>,
    headers: Headers,
}

struct Attribute<'h> {
    header: &'h str,
    name: &'h str,
    value: &'h str,
}

impl Attribute<'_> {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

impl<'h> Found<'h> {
    fn add(
        &mut self,
        binding: Binding,
        header: &'h str,
        value: &'h str,
    ) -> Result<(), OutboxError> {
        if let Some(name) = strip_prefix(header, MOVED) {
            let name = decoded(header, name, binding.decode(name))?.into_owned();
            let value = decoded(header, value, binding.decode(value))?.into_owned();
            self.headers.insert(name, value);
        } else if let Some(name) = strip_prefix(header, OURS) {
            self.add_ours(binding, header, name, value)?;
        } else if let Some(name) = attribute(header) {
            self.attributes.push(Attribute {
                header,
                name,
                value,
            });
        } else if header.eq_ignore_ascii_case(CONTENT_TYPE) {
            once(&mut self.fields.content_type, CONTENT_TYPE, value.into())?;
        } else if !binding.reserves(header) {
            let name = match binding {
                Binding::Http => header.to_ascii_lowercase(),
                _ => header.to_owned(),
            };
            let headers = self.headers.entry(name);
            headers.or_insert_with(|| value.to_owned());
        }
        Ok(())
    }

    fn add_ours(
        &mut self,
        binding: Binding,
        header: &'h str,
        name: &str,
        value: &'h str,
    ) -> Result<(), OutboxError> {
        let fields = &mut self.fields;
        let (field, of_raw) = match name.to_ascii_lowercase().as_str() {
            "id" => (&mut fields.id, true),
            "type" => (&mut fields.event_type, true),
            "created-at" => (&mut fields.created_at, true),
            "key" => (&mut fields.key, false),
            _ => return Ok(()),
        };
        self.is_raw |= of_raw;
        once(
            field,
            header,
            decoded(header, value, binding.decode(value))?,
        )
    }

    fn decode_content_type(&mut self, binding: Binding) -> Result<(), OutboxError> {
        if let Some(Cow::Borrowed(content_type)) = self.fields.content_type {
            let text = decoded(CONTENT_TYPE, content_type, binding.decode(content_type))?;
            self.fields.content_type = Some(text);
        }
        Ok(())
    }

    fn binary(mut self, binding: Binding, body: Bytes) -> Result<Event, OutboxError> {
        let mut content_type = None;
        let mut key = None;
        let (mut version, mut source) = (None, None);
        for attribute in &self.attributes {
            let Attribute { header, value, .. } = *attribute;
            let value = decoded(header, value, binding.decode_attribute(value))?;
            let name = attribute.name.to_ascii_lowercase();
            let field = match name.as_str() {
                "specversion" => &mut version,
                "id" => &mut self.fields.id,
                "source" => &mut source,
                "type" => &mut self.fields.event_type,
                "time" => &mut self.fields.created_at,
                "datacontenttype" => &mut content_type,
                "partitionkey" => &mut key,
                _ => {
                    self.headers.insert(name, value.into_owned());
                    continue;
                }
            };
            once(field, header, value)?;
        }
        let names = binding.names();
        check_version(names.specversion, version.as_deref())?;
        self.fields.key = key.or(self.fields.key);
        self.fields.content_type = content_type.or(self.fields.content_type);
        self.fields.event(names, self.headers, body)
    }
}

/// The fields of an event as texts.
#[derive(Default)]
pub(super) struct Fields<'h> {
    pub(super) id: Option<Cow<'h, str>>,
    pub(super) event_type: Option<Cow<'h, str>>,
    pub(super) created_at: Option<Cow<'h, str>>,
    pub(super) key: Option<Cow<'h, str>>,
    pub(super) content_type: Option<Cow<'h, str>>,
}

impl Fields<'_> {
    /// The event. `names` are those of the fields in this message, for errors.
    pub(super) fn event(
        self,
        names: &Names,
        headers: Headers,
        payload: Bytes,
    ) -> Result<Event, OutboxError> {
        const ID: &str = "a UUID such as 01900000-0000-7000-8000-000000000000";
        const TIME: &str = "a time of RFC 3339 such as 2026-01-31T12:00:00.000000Z";
        let id = self.id.ok_or_else(|| missing(names.id, ID))?;
        let uuid = uuid::Uuid::try_parse(&id).map_err(|_| refused(names.id, &id, ID))?;
        let event_type = self.event_type.filter(|text| !text.is_empty());
        let event_type = event_type.ok_or_else(|| missing(names.event_type, "a text"))?;
        let created_at = match &self.created_at {
            Some(time) => text::read_time(time).ok_or_else(|| refused(names.time, time, TIME))?,
            None if names.time == RAW.time => return Err(missing(names.time, TIME)),
            None => SystemTime::now(),
        };
        let content_type = self
            .content_type
            .unwrap_or("application/octet-stream".into());
        Ok(Event {
            id: uuid.into(),
            event_type: event_type.into_owned(),
            payload,
            content_type: content_type.into_owned(),
            headers,
            ordering_key: self.key.map(Cow::into_owned),
            idempotency_token: None,
            created_at,
            available_at: None,
        })
    }
}

pub(super) fn check_version(name: &str, version: Option<&str>) -> Result<(), OutboxError> {
    match version {
        Some("1.0") => Ok(()),
        Some(version) => Err(refused(name, version, "1.0")),
        None => Err(missing(name, "1.0")),
    }
}

fn once<'h>(
    field: &mut Option<Cow<'h, str>>,
    name: &str,
    value: Cow<'h, str>,
) -> Result<(), OutboxError> {
    match field.replace(value) {
        Some(other) => Err(refused(name, &other, "there once")),
        None => Ok(()),
    }
}

fn decoded<'h>(
    name: &str,
    value: &str,
    text: Option<Cow<'h, str>>,
) -> Result<Cow<'h, str>, OutboxError> {
    text.ok_or_else(|| refused(name, value, "percent-encoded UTF-8"))
}

pub(super) fn refused(name: &str, value: &str, allowed: impl Display) -> OutboxError {
    const SHOWN: usize = 100;
    let value: String = value.chars().take(SHOWN).collect();
    invalid(
        "read",
        format!("{name} is {value:?}, but must be {allowed}"),
    )
}

fn missing(name: &str, allowed: &str) -> OutboxError {
    invalid("read", format!("{name} is missing, but must be {allowed}"))
}
