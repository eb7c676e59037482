//! Percent-encoding, times and media types.

use percent_encoding::{
    AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode,
};
use std::borrow::Cow;
use std::fmt::Write;
use std::time::SystemTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What the HTTP binding of CloudEvents encodes in a value, besides what is not ASCII.
const VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// All but the characters of a token of RFC 9110, and the percent sign.
const NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'*')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// As [`NAME`], also upper case.
const LOWER_CASE_NAME: &AsciiSet = &{
    let mut set = NAME.add(b'%');
    let mut letter = b'A';
    while letter <= b'Z' {
        set = set.add(letter);
        letter += 1;
    }
    set
};

pub(super) fn encode(value: &str) -> Cow<'_, str> {
    utf8_percent_encode(value, VALUE).into()
}

pub(super) fn encode_name(name: &str, lower_case: bool) -> Cow<'_, str> {
    let set = if lower_case { LOWER_CASE_NAME } else { NAME };
    utf8_percent_encode(name, set).into()
}

/// `None` if the bytes are not UTF-8. A percent sign without two digits stays, as some senders do
/// not encode it.
pub(super) fn decode(value: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(value).decode_utf8().ok()
}

/// The content of a quoted string of RFC 9110.
pub(super) fn unquote(value: &str) -> Option<String> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    let mut characters = inner.chars();
    let mut text = String::with_capacity(inner.len());
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => characters.next()?,
            character => character,
        });
    }
    Some(text)
}

/// Whether a name is a token of RFC 9110, which every client of NATS and HTTP accepts.
pub(super) fn is_token(name: &str) -> bool {
    let in_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(in_token)
}

/// Whether a value is printable ASCII that starts and ends without a blank, so no client trims it.
pub(super) fn is_line(value: &str) -> bool {
    let printable = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    printable && !value.starts_with(' ') && !value.ends_with(' ')
}

/// RFC 3339 in UTC with microseconds; a finer part is cut off. `None` outside the years 0 to 9999.
pub(super) fn write_time(time: SystemTime) -> Option<String> {
    const NANOS_OF_MICRO: i128 = 1000;
    let epoch = SystemTime::UNIX_EPOCH;
    let nanos = match time.duration_since(epoch) {
        Ok(since) => i128::try_from(since.as_nanos()).ok()?,
        Err(before) => -i128::try_from(before.duration().as_nanos()).ok()?,
    };
    let micros = nanos.div_euclid(NANOS_OF_MICRO);
    let time = OffsetDateTime::from_unix_timestamp_nanos(micros * NANOS_OF_MICRO).ok()?;
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, micro) = time.to_hms_micro();
    if !(0..=9999).contains(&year) {
        return None;
    }
    let month = u8::from(month);
    let mut text = String::with_capacity("0000-00-00T00:00:00.000000Z".len());
    write!(
        text,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z"
    )
    .ok()?;
    Some(text)
}

/// A time of RFC 3339 with any offset.
pub(super) fn read_time(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(Into::into)
}

/// Type and subtype, without parameters and blanks.
pub(super) fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

pub(super) fn is_json(content_type: &str) -> bool {
    let subtype = media_type(content_type)
        .split_once('/')
        .unwrap_or_default()
        .1;
    let subtype = subtype.to_ascii_lowercase();
    subtype == "json" || subtype.ends_with("+json")
}

/// Whether a text of this media type is in UTF-8.
pub(super) fn is_utf8_text(content_type: &str) -> bool {
    let content_type = content_type.to_ascii_lowercase();
    let is_utf8 =
        |charset: &str| ["utf-8", "utf8", "us-ascii"].contains(&charset.trim_matches(['"', ' ']));
    content_type.starts_with("text/")
        && content_type
            .split(';')
            .filter_map(|parameter| parameter.trim().strip_prefix("charset"))
            .filter_map(|value| value.trim().strip_prefix('='))
            .all(is_utf8)
}

/// Whether a value is allowed as a text in CloudEvents: without control characters and noncharacters.
pub(super) fn is_attribute_value(value: &str) -> bool {
    let allowed = |character: char| {
        !character.is_control()
            && !matches!(character, '\u{fdd0}'..='\u{fdef}')
            && u32::from(character) & 0xfffe != 0xfffe
    };
    !value.is_empty() && value.chars().all(allowed)
}

/// Whether a text is a URI-reference of RFC 3986 that is not empty.
pub(super) fn is_uri_reference(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    let escapes = text.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().iter().take(2);
        digits.filter(|byte| byte.is_ascii_hexdigit()).count() == 2
    });
    let path = text.split(['/', '?', '#']).next().unwrap_or_default();
    !text.is_empty()
        && text.bytes().all(allowed)
        && escapes
        && text.matches('#').count() <= 1
        && (!path.contains(':') || is_absolute(text))
}

/// Whether a URI-reference has a scheme.
pub(super) fn is_absolute(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(in_scheme)
    })
}
