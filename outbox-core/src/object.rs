//! Events, which a producer appends and a relay publishes.

use crate::error::OutboxError;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// Identifies an event in the outbox, at the broker, in the heap and in the quarantine.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EventId(Uuid);

impl EventId {
    /// A new id: a version 7 UUID, so ids made later sort later.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id as a UUID.
    #[must_use]
    pub fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl Default for EventId {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Uuid> for EventId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for EventId {
    type Err = OutboxError;

    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `text` is not a UUID.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self).map_err(|_| {
            let allowed = "a UUID such as 01900000-0000-7000-8000-000000000000";
            let problem = format!("event id is {text:?}, but must be {allowed}");
            OutboxError::invalid("event", "parse", problem)
        })
    }
}

/// Names and values that are published with a payload, such as `traceparent` and `tracestate`.
pub type Headers = BTreeMap<String, String>;

/// One event: the bytes to publish, and the data that a broker needs to route and order them.
///
/// The outbox never decodes a payload. The producer encodes it, with [`Event::json`] or in another
/// way. [`validate`](Self::validate) documents the limits of each field.
///
/// ```
/// # use outbox_core::Event;
/// let event = Event::new("order.placed", r#"{"order":7}"#)
///     .content_type("application/json")
///     .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
///     .ordering_key("order-7")
///     .idempotency_token("order-7-placed");
/// event.validate()?;
/// # Ok::<(), outbox_core::OutboxError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// It stays the same through retries, quarantine and replay, so consumers can deduplicate by it.
    pub id: EventId,
    /// The kind of event, such as `order.placed`. 1 to 1,024 bytes.
    pub event_type: String,
    /// The bytes to publish, unchanged.
    pub payload: Bytes,
    /// The media type of the payload.
    pub content_type: String,
    /// Names and values that are published with the payload.
    pub headers: Headers,
    /// Events of one key are published one after another, in commit order.
    pub ordering_key: Option<String>,
    /// A second append with the same token is refused as a duplicate.
    pub idempotency_token: Option<String>,
    /// When the producer created the event, by the producer's clock.
    pub created_at: SystemTime,
    /// The event is not published before this time, by the store's clock. Later events of its key wait
    /// for it.
    pub available_at: Option<SystemTime>,
}

impl Event {
    /// An event of raw bytes (`application/octet-stream`) with a new id, created now.
    #[must_use]
    pub fn new(event_type: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            id: EventId::new(),
            event_type: event_type.into(),
            payload: payload.into(),
            content_type: "application/octet-stream".to_owned(),
            headers: Headers::new(),
            ordering_key: None,
            idempotency_token: None,
            created_at: SystemTime::now(),
            available_at: None,
        }
    }

    /// An event whose payload is `value` as JSON (`application/json`).
    ///
    /// ```
    /// # use outbox_core::Event;
    /// let event = Event::json("order.placed", &("leonie", 198))?;
    /// assert_eq!(&*event.payload, br#"["leonie",198]"#);
    /// assert_eq!(event.content_type, "application/json");
    /// # Ok::<(), outbox_core::OutboxError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `value` cannot be written as JSON.
    #[cfg(feature = "json")]
    pub fn json(
        event_type: impl Into<String>,
        value: &(impl serde::Serialize + ?Sized),
    ) -> Result<Self, OutboxError> {
        let payload = serde_json::to_vec(value).map_err(|error| {
            OutboxError::new(crate::ErrorKind::Invalid, "event", "json").with_source(error)
        })?;
        Ok(Self::new(event_type, payload).content_type("application/json"))
    }

    /// Replaces the id.
    #[must_use]
    pub fn id(mut self, id: EventId) -> Self {
        self.id = id;
        self
    }

    /// Replaces the media type of the payload.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = content_type.into();
        self
    }

    /// Adds a header, or replaces the one of that name.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Publishes this event in commit order with the others of the same key.
    #[must_use]
    pub fn ordering_key(mut self, key: impl Into<String>) -> Self {
        self.ordering_key = Some(key.into());
        self
    }

    /// Makes a later append with the same token a [`Duplicate`](crate::ErrorKind::Duplicate).
    #[must_use]
    pub fn idempotency_token(mut self, token: impl Into<String>) -> Self {
        self.idempotency_token = Some(token.into());
        self
    }

    /// Replaces the time at which the event was created.
    #[must_use]
    pub fn created_at(mut self, time: SystemTime) -> Self {
        self.created_at = time;
        self
    }

    /// Delays the event until `time`.
    #[must_use]
    pub fn available_at(mut self, time: SystemTime) -> Self {
        self.available_at = Some(time);
        self
    }

    /// The bytes of the payload and of the names and values of the headers, which
    /// [`ClaimLimit::bytes`](crate::ClaimLimit::bytes) limits.
    #[must_use]
    pub fn size(&self) -> usize {
        self.payload.len() + self.headers_size()
    }

    /// Checks the limits of each field, which are the same for every store. Every append calls it.
    ///
    /// - `event_type` and `content_type` have 1 to 1,024 bytes, `ordering_key` at most 8,192,
    ///   `idempotency_token` at most 1,024, and the names and values of `headers` at most 1 MiB
    ///   together. None has a NUL character, which PostgreSQL cannot hold. The payload is limited
    ///   by the store and the broker only.
    /// - `created_at` and `available_at` are in the years 1980 to 9999. A value outside usually has
    ///   the wrong unit.
    ///
    /// ```
    /// # use outbox_core::Event;
    /// let event = Event::new("", "no type");
    /// assert!(event.validate().is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) names the first field that is outside its
    /// limits, its value and its limits.
    pub fn validate(&self) -> Result<(), OutboxError> {
        let fields = self.check_fields();
        fields.map_err(|problem| OutboxError::invalid("event", "append", problem))
    }

    fn check_fields(&self) -> Result<(), String> {
        text("event type", &self.event_type, 1, 1024)?;
        text("content type", &self.content_type, 1, 1024)?;
        if let Some(key) = &self.ordering_key {
            text("ordering key", key, 0, 8192)?;
        }
        if let Some(token) = &self.idempotency_token {
            text("idempotency token", token, 0, 1024)?;
        }
        for (name, value) in &self.headers {
            text("header name", name, 0, Self::HEADERS_AT_MOST)?;
            text("header value", value, 0, Self::HEADERS_AT_MOST)?;
        }
        let headers = self.headers_size();
        if headers > Self::HEADERS_AT_MOST {
            return Err(too_long("headers", headers, 0, Self::HEADERS_AT_MOST));
        }
        time("created_at", self.created_at)?;
        self.available_at
            .map_or(Ok(()), |at| time("available_at", at))
    }

    pub(crate) const HEADERS_AT_MOST: usize = 1024 * 1024;

    pub(crate) fn headers_size(&self) -> usize {
        self.headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }
}

/// The problem of a text that no store can keep.
pub(crate) fn text(
    what: &'static str,
    text: &str,
    least: usize,
    most: usize,
) -> Result<(), String> {
    if !(least..=most).contains(&text.len()) {
        return Err(too_long(what, text.len(), least, most));
    }
    if text.contains('\0') {
        let shown: String = text.chars().take(100).collect();
        let shown = format!("{shown:?}");
        return Err(refused(what, shown, "text without a NUL character"));
    }
    Ok(())
}

fn too_long(what: &'static str, bytes: usize, least: usize, most: usize) -> String {
    let allowed = format!("{least} to {most} bytes");
    refused(what, format_args!("{bytes} bytes long"), allowed)
}

/// 1980-01-01 to 9999-12-31, in microseconds since 1970.
fn time(what: &'static str, time: SystemTime) -> Result<(), String> {
    const EARLIEST: Duration = Duration::from_secs(315_532_800);
    const END: Duration = Duration::from_secs(253_402_300_800);
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    if since
        .as_ref()
        .is_ok_and(|since| (EARLIEST..END).contains(since))
    {
        return Ok(());
    }
    let shown = match since {
        Ok(since) => format!("{} s after 1970", since.as_secs()),
        Err(error) => format!("{} s before 1970", error.duration().as_secs()),
    };
    Err(refused(what, shown, "a time in the years 1980 to 9999"))
}

fn refused(what: &'static str, value: impl fmt::Display, allowed: impl fmt::Display) -> String {
    format!("{what} is {value}, but must be {allowed}")
}

/// The text without NUL characters, up to the last character boundary within `most` bytes.
pub(crate) fn cut(text: &str, most: usize) -> String {
    text.chars()
        .filter(|&character| character != '\0')
        .scan(0, |bytes, character| {
            *bytes += character.len_utf8();
            (*bytes <= most).then_some(character)
        })
        .collect()
}

/// The text of an error, made safe for every store: no NUL, at most [`ErrorText::MAX_BYTES`].
///
/// PostgreSQL refuses a row with a NUL, and a very long text would fill a store. Both are removed
/// here, once, before a backend gets the text.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ErrorText(String);

impl ErrorText {
    /// The most bytes of UTF-8 that are kept. A longer text is cut at a character boundary.
    pub const MAX_BYTES: usize = 4096;

    /// Removes NUL characters, then cuts at the last character boundary within the limit.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(cut(text, Self::MAX_BYTES))
    }

    /// The text of an error and of its causes.
    #[must_use]
    pub fn from_error(error: &dyn std::error::Error) -> Self {
        Self::new(&crate::error::error_chain(error))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for ErrorText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ErrorText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for ErrorText {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_text_has_no_nul_and_is_cut_at_a_character() {
        assert_eq!(ErrorText::new("a\0b").as_str(), "ab");
        assert_eq!(ErrorText::from("a\0b").to_string(), "ab");
        let long = "é".repeat(ErrorText::MAX_BYTES);
        let text = ErrorText::new(&long);
        assert_eq!(text.len(), ErrorText::MAX_BYTES);
        let odd = format!("x{long}");
        assert_eq!(ErrorText::new(&odd).len(), ErrorText::MAX_BYTES - 1);
    }

    #[test]
    fn an_event_within_all_limits_is_valid() {
        let far = Duration::from_secs(253_402_300_799);
        let event = Event::new("x".repeat(1024), Vec::new())
            .content_type("x".repeat(1024))
            .ordering_key("x".repeat(8192))
            .idempotency_token("x".repeat(1024))
            .header("x", "x".repeat(1024 * 1024 - 1))
            .created_at(SystemTime::UNIX_EPOCH + Duration::from_secs(315_532_800))
            .available_at(SystemTime::UNIX_EPOCH + far);
        event.validate().unwrap();
        assert_eq!(event.size(), 1024 * 1024);
    }

    #[test]
    fn each_field_outside_its_limits_is_named() {
        let event = || Event::new("x", Vec::new());
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (event, named) in [
            (
                Event::new("", Vec::new()),
                "event type is 0 bytes long, but must be",
            ),
            (
                Event::new("x".repeat(1025), Vec::new()),
                "event type is 1025 bytes long, but must be",
            ),
            (Event::new("a\0b", Vec::new()), "event type"),
            (
                event().content_type(""),
                "content type is 0 bytes long, but must be",
            ),
            (event().content_type("x".repeat(1025)), "content type"),
            (event().ordering_key("x".repeat(8193)), "0 to 8192 bytes"),
            (event().ordering_key("\0"), "ordering key"),
            (
                event().idempotency_token("x".repeat(1025)),
                "idempotency token",
            ),
            (event().header("\0", ""), "header name"),
            (event().header("", "\0"), "header value"),
            (
                event().header("xx", "x".repeat(1024 * 1024 - 1)),
                "headers is 1048577 bytes long, but must be",
            ),
            (
                event().created_at(at(315_532_799)),
                "created_at is 315532799 s after 1970, but must be",
            ),
            (
                event().created_at(SystemTime::UNIX_EPOCH - Duration::from_secs(5)),
                "created_at is 5 s before 1970, but must be",
            ),
            (
                event().available_at(at(253_402_300_800)),
                "available_at is 253402300800 s after 1970, but must be",
            ),
        ] {
            let error = event.validate().unwrap_err();
            let report = error.to_string();
            assert!(report.contains(named), "{report}");
        }
    }

    #[test]
    fn an_id_is_its_uuid() {
        let text = "01900000-0000-7000-8000-000000000007";
        let id: EventId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(id.as_uuid().to_string(), text);
        assert_eq!(EventId::from(*id.as_uuid()), id);
    }

    #[test]
    fn an_id_that_is_not_a_uuid_is_named() {
        let error = "seven".parse::<EventId>().unwrap_err();
        assert!(error.to_string().contains("\"seven\""), "{error}");
    }
}
