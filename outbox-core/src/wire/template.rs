//! The names of destinations, made from events.

use crate::error::OutboxError;
use crate::object::Event;
use crate::transport::{PublishError, PublishErrorKind};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Makes the destination of an event, such as a subject, a topic or a routing key, from its fields.
///
/// `{type}`, `{key}` and `{header:name}` stand for the event's type, its ordering key and a header;
/// `{{` and `}}` for braces. All else is text. A header's name is compared with its case.
///
/// A value is inserted as it is. An adapter checks what its broker allows, and a header with many
/// values makes as many destinations.
///
/// ```
/// use outbox_core::Event;
/// use outbox_core::wire::Template;
///
/// let template: Template = "shop.{type}.{key}".parse()?;
/// let event = Event::new("order.placed", "").ordering_key("7");
/// assert_eq!(template.fill(&event)?, "shop.order.placed.7");
/// assert_eq!(template.destination(&event), "shop.order.placed.{key}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Text(String),
    Type,
    Key,
    Header(String),
}

impl Part {
    /// Absent and empty values fill nothing.
    fn value<'a>(&'a self, event: &'a Event) -> Option<&'a str> {
        let value = match self {
            Self::Text(text) => Some(text),
            Self::Type => Some(&event.event_type),
            Self::Key => event.ordering_key.as_ref(),
            Self::Header(name) => event.headers.get(name),
        };
        value.map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Type => f.write_str("type"),
            Self::Key => f.write_str("key"),
            Self::Header(name) => write!(f, "header {name:?}"),
        }
    }
}

impl Template {
    /// The destination of an event. A template without placeholders, or of one alone, copies nothing.
    ///
    /// # Errors
    ///
    /// [`Misconfigured`](PublishErrorKind::Misconfigured) if the event has no value for a placeholder,
    /// or an empty one. The error has the name that [`destination`](Self::destination) gives, so only
    /// the events that lack the same value wait until a person has repaired the template.
    pub fn fill<'a>(&'a self, event: &'a Event) -> Result<Cow<'a, str>, PublishError> {
        self.fill_with(event, Cow::Borrowed)
    }

    /// As [`fill`](Self::fill), with each value written by `write`. The text of the template stays as it
    /// is. An adapter passes what encodes the characters that have a meaning in its destinations, such
    /// as a slash in a URL.
    ///
    /// ```
    /// use outbox_core::Event;
    /// use outbox_core::wire::Template;
    ///
    /// let template: Template = "/hooks/{key}".parse()?;
    /// let event = Event::new("order.placed", "").ordering_key("a/b");
    /// let filled = template.fill_with(&event, |value| value.replace('/', "%2F").into())?;
    /// assert_eq!(filled, "/hooks/a%2Fb");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`fill`](Self::fill).
    pub fn fill_with<'a>(
        &'a self,
        event: &'a Event,
        write: impl Fn(&'a str) -> Cow<'a, str>,
    ) -> Result<Cow<'a, str>, PublishError> {
        let value = |part: &'a Part| {
            let value = part
                .value(event)
                .ok_or_else(|| self.unfilled(part, event))?;
            Ok(match part {
                Part::Text(_) => value.into(),
                _ => write(value),
            })
        };
        if let [part] = self.parts.as_slice() {
            return value(part);
        }
        let mut filled = String::with_capacity(2 * self.text.len());
        for part in &self.parts {
            filled.push_str(&value(part)?);
        }
        Ok(filled.into())
    }

    /// The name of the destination of an event for [`Transport::destination`] and for
    /// [`PublishError::with_destination`]: filled, but for the key.
    ///
    /// A destination fails for all of its keys, and a name for each key would make a call for each
    /// key. So `{key}` stays as it is. Where the event lacks a value, the name has `{no key}` or
    /// `{no header "name"}`.
    ///
    /// [`Transport::destination`]: crate::Transport::destination
    #[must_use]
    pub fn destination<'a>(&'a self, event: &'a Event) -> Cow<'a, str> {
        if let [part] = self.parts.as_slice() {
            return Self::named(part, event);
        }
        let parts = self.parts.iter().map(|part| Self::named(part, event));
        parts.collect::<String>().into()
    }

    fn named<'a>(part: &'a Part, event: &'a Event) -> Cow<'a, str> {
        match (part, part.value(event)) {
            (Part::Key, Some(_)) => "{key}".into(),
            (_, Some(value)) => value.into(),
            (_, None) => format!("{{no {part}}}").into(),
        }
    }

    /// The destination of all events, if there are no placeholders. An adapter can check it at the
    /// start.
    #[must_use]
    pub fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    fn unfilled(&self, part: &Part, event: &Event) -> PublishError {
        let (id, template) = (event.id, &self.text);
        let problem =
            format!("{part} of event {id} is empty, but the destination {template:?} needs it");
        PublishError::new(PublishErrorKind::Misconfigured)
            .with_destination(self.destination(event))
            .with_source(problem)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Template {
    type Err = OutboxError;

    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `text` is empty or has another
    /// placeholder or a single brace. The error names its position, counted in characters from 1.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = parts(text).map_err(|problem| super::invalid("parse", problem))?;
        let text = text.to_owned();
        Ok(Self { text, parts })
    }
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    if text.is_empty() {
        return Err("destination is empty, but must be a name such as orders.{type}".to_owned());
    }
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        literal.push_str(before);
        if let Some(after) = brace.strip_prefix("{{") {
            literal.push('{');
            rest = after;
            continue;
        }
        if let Some(after) = brace.strip_prefix("}}") {
            literal.push('}');
            rest = after;
            continue;
        }
        let (part, after) = placeholder(brace).ok_or_else(|| refused(text, brace))?;
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        }
        parts.push(part);
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

/// The placeholder at the beginning of `text`, and what follows.
fn placeholder(text: &str) -> Option<(Part, &str)> {
    let (name, after) = text.strip_prefix('{')?.split_once('}')?;
    let part = match name {
        "type" => Part::Type,
        "key" => Part::Key,
        name => {
            let header = name.strip_prefix("header:")?;
            (!header.is_empty()).then(|| Part::Header(header.to_owned()))?
        }
    };
    Some((part, after))
}

fn refused(text: &str, rest: &str) -> String {
    let position = text[..text.len() - rest.len()].chars().count() + 1;
    let end = rest.find('}').map_or(rest.len(), |end| end + 1);
    let found = &rest[..end];
    format!(
        "destination {text:?} has {found:?} at character {position}, but must have {{type}}, {{key}}, \
         {{header:name}}, or {{{{ and }}}} for braces"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event::new("order.placed", "").header("region", "eu")
    }

    #[test]
    fn placeholders_are_filled_and_a_constant_is_borrowed() {
        let event = event().ordering_key("7").header("a b:c", "x");
        for (template, filled, named) in [
            ("orders", "orders", "orders"),
            ("{type}", "order.placed", "order.placed"),
            ("{key}", "7", "{key}"),
            ("{header:region}.{key}.x", "eu.7.x", "eu.{key}.x"),
            ("{header:a b:c}", "x", "x"),
            ("{{{type}}}", "{order.placed}", "{order.placed}"),
            ("{{type}}", "{type}", "{type}"),
            ("é{{}}", "é{}", "é{}"),
        ] {
            let parsed: Template = template.parse().unwrap();
            assert_eq!(parsed.fill(&event).unwrap(), filled, "{template}");
            assert_eq!(parsed.destination(&event), named, "{template}");
            assert_eq!(parsed.to_string(), template);
        }
        let constant: Template = "a{{b".parse().unwrap();
        assert!(matches!(constant.fill(&event), Ok(Cow::Borrowed("a{b"))));
        assert!(matches!(constant.destination(&event), Cow::Borrowed("a{b")));
        assert_eq!(constant.constant(), Some("a{b"));
        assert_eq!("{type}".parse::<Template>().unwrap().constant(), None);
    }

    #[test]
    fn what_cannot_be_filled_is_misconfigured_and_only_for_events_that_lack_the_same() {
        let event = event().ordering_key("").header("empty", "");
        for (template, named, missing) in [
            ("a.{key}", "a.{no key}", "key of event"),
            ("{key}", "{no key}", "key of event"),
            (
                "a.{header:x}",
                "a.{no header \"x\"}",
                "header \"x\" of event",
            ),
            (
                "{type}.{header:empty}",
                "order.placed.{no header \"empty\"}",
                "header \"empty\" of",
            ),
        ] {
            let parsed: Template = template.parse().unwrap();
            let error = parsed.fill(&event).unwrap_err();
            assert_eq!(error.kind(), PublishErrorKind::Misconfigured);
            assert_eq!(error.destination(), Some(named));
            assert_eq!(parsed.destination(&event), named);
            let text = crate::error::error_chain(&error);
            assert!(text.contains(missing), "{text}");
            assert!(text.contains(&event.id.to_string()), "{text}");
            assert!(text.contains(&format!("{template:?}")), "{text}");
        }
    }

    #[test]
    fn a_wrong_template_is_refused_with_the_position() {
        for (template, problem) in [
            ("", "destination is empty, but must be"),
            (
                "orders.{typ}.x",
                "has \"{typ}\" at character 8, but must have {type}, {key}",
            ),
            ("éé{type", "has \"{type\" at character 3"),
            ("a}b", "has \"}\" at character 2"),
            ("{header:}", "has \"{header:}\" at character 1"),
            ("{}", "has \"{}\" at character 1"),
            ("{ type }", "has \"{ type }\" at character 1"),
            ("{{{", "has \"{\" at character 3"),
        ] {
            let error = template.parse::<Template>().unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Invalid);
            let text = error.to_string();
            assert!(text.contains(problem), "{text}");
        }
    }
}
