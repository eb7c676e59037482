//! Where an event goes: a URL, and the name of its destination.

use crate::network;
use crate::{BACKEND, OPEN};
use ipnet::IpNet;
use outbox_core::wire::Template;
use outbox_core::{Event, OutboxError, PublishError, PublishErrorKind};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::Url;
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use url::Host;

/// All but the unreserved characters of RFC 3986, so that a value stays within its place in the URL.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

const NO_TLS: &str =
    "scheme is \"https\", but must be http without the feature tls-rustls-ring-native-roots";

/// How much of an unusable URL the name of a destination has.
const SHOWN: usize = 100;

/// A URL with placeholders behind its host.
#[derive(Clone)]
pub(crate) struct Target {
    template: Template,
    /// The template without its query, which may be secret.
    name: Template,
    /// The URL of all events, if there are no placeholders.
    constant: Option<Url>,
    /// Scheme, host and port, as a URL.
    origin: Url,
    pub(crate) login: Option<Login>,
}

/// What a URL has before its host.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl Target {
    /// Reads a URL. No error shows what may be secret: its login, its path or its query.
    pub(crate) fn parse(text: &str) -> Result<Self, OutboxError> {
        let (scheme, behind) = text.split_once("://").unwrap_or_default();
        let scheme = scheme.to_ascii_lowercase();
        if !["http", "https"].contains(&&*scheme) {
            return Err(invalid(
                "URL has no scheme http or https, but must have one",
            ));
        }
        if text.contains(|found: char| found.is_whitespace() || found.is_control()) {
            return Err(invalid(
                "URL has a blank or a control character, but must have none",
            ));
        }
        if text.contains('#') {
            return Err(invalid(
                "URL has a '#', but must have none: write it as %23",
            ));
        }
        let end = behind.find(['/', '\\', '?']).unwrap_or(behind.len());
        let (authority, path) = behind.split_at(end);
        if authority.contains(['{', '}']) {
            return Err(invalid(
                "URL has a placeholder in its host, but may have them only behind it",
            ));
        }
        let (origin, login) = origin(&scheme, authority)?;
        let path = if path.is_empty() { "/" } else { path };
        let text = format!("{}{path}", origin.as_str().trim_end_matches('/'));
        let template: Template = text.parse()?;
        let mut target = Self {
            name: without_query(&text).parse()?,
            constant: None,
            template,
            origin,
            login,
        };
        if let Some(constant) = target.template.constant() {
            let url = target.read(constant).map_err(invalid)?;
            target.constant = Some(url);
        }
        Ok(target)
    }

    /// The URL of an event. The error names the destination.
    pub(crate) fn url(&self, event: &Event) -> Result<Url, PublishError> {
        if let Some(url) = &self.constant {
            return Ok(url.clone());
        }
        let filled = self.template.fill_with(event, encode);
        let filled = filled.map_err(|error| error.with_destination(self.destination(event)))?;
        self.read(&filled).map_err(|problem| {
            let error = PublishError::new(PublishErrorKind::Misconfigured);
            error
                .with_destination(self.destination(event))
                .with_source(problem)
        })
    }

    fn read(&self, filled: &str) -> Result<Url, &'static str> {
        if has_dots(filled) {
            return Err("path of the URL has a part '.' or '..', but must have none");
        }
        let url = Url::parse(filled).map_err(|_| "URL cannot be read")?;
        if url.origin() != self.origin.origin() {
            return Err("URL has another host than its template");
        }
        Ok(url)
    }

    /// The name of the destination of an event. Events whose URL cannot be used have one of their own, so
    /// that they delay no others.
    pub(crate) fn destination<'a>(&'a self, event: &'a Event) -> Cow<'a, str> {
        if self.constant.is_none()
            && let Ok(filled) = self.template.fill_with(event, encode)
            && has_dots(&filled)
        {
            let shown: String = without_query(&filled).chars().take(SHOWN).collect();
            return format!("{shown:?}").into();
        }
        self.name.destination(event)
    }

    /// The name without an event.
    pub(crate) fn name(&self) -> &Template {
        &self.name
    }

    /// The URL of all events, or else that of the host.
    pub(crate) fn constant_or_origin(&self) -> &Url {
        self.constant.as_ref().unwrap_or(&self.origin)
    }

    pub(crate) fn is_constant(&self) -> bool {
        self.constant.is_some()
    }

    pub(crate) fn needs_tls(&self) -> bool {
        self.origin.scheme() == "https"
    }

    /// Checks that TLS is there if it is needed, and a host that is an address. That of a name is checked
    /// when it is resolved.
    pub(crate) fn check(&self, allowed: &[IpNet]) -> Result<(), String> {
        if self.needs_tls() && !cfg!(feature = "tls-rustls-ring-native-roots") {
            return Err(NO_TLS.to_owned());
        }
        match address(&self.origin) {
            Some(address) => network::check(address, allowed).map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Target {
    /// Without the login and the query, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.name, f)
    }
}

/// The URL of a host, and its login.
fn origin(scheme: &str, authority: &str) -> Result<(Url, Option<Login>), OutboxError> {
    let (login, host) = authority.rsplit_once('@').unzip();
    let host = host.unwrap_or(authority);
    let origin = Url::parse(&format!("{scheme}://{host}/"));
    // The reason may quote the URL.
    let origin = origin.map_err(|_| invalid("URL has a host that cannot be read"))?;
    let decode = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        let text = text.map_err(|_| invalid("login of the URL is not UTF-8"))?;
        Ok::<_, OutboxError>(text.into_owned())
    };
    let login = login.map(|login| {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        Ok::<_, OutboxError>(Login {
            user: decode(user)?,
            password: decode(password)?,
        })
    });
    Ok((origin, login.transpose()?))
}

/// The host of a URL as an address, in whichever way it was written.
fn address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

fn encode(value: &str) -> Cow<'_, str> {
    utf8_percent_encode(value, VALUE).into()
}

/// Whether a part of the path would be removed with its parent.
fn has_dots(url: &str) -> bool {
    let path = without_query(url);
    path.split(['/', '\\']).any(|part| {
        part.starts_with(['.', '%'])
            && [".", ".."].contains(&&*part.to_ascii_lowercase().replace("%2e", "."))
    })
}

/// Up to the first question mark outside of braces.
fn without_query(template: &str) -> &str {
    let mut depth = 0_i32;
    for (at, found) in template.char_indices() {
        match found {
            '{' => depth += 1,
            '}' => depth -= 1,
            '?' if depth <= 0 => return &template[..at],
            _ => {}
        }
    }
    template
}

fn invalid(problem: &str) -> OutboxError {
    OutboxError::invalid(BACKEND, OPEN, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event_type: &str) -> Event {
        Event::new(event_type, "")
            .ordering_key("k/1")
            .header("tenant", "a?b#c@d:e\\f")
    }

    fn target(text: &str) -> Target {
        Target::parse(text).unwrap()
    }

    #[test]
    fn values_are_encoded_so_that_they_stay_in_their_place() {
        let target = target("https://me:p%40ss@shop.example/{key}/{header:tenant}/x?t={type}&s=1");
        let url = target.url(&event("a&b=c%2f")).unwrap();
        assert_eq!(
            url.as_str(),
            "https://shop.example/k%2F1/a%3Fb%23c%40d%3Ae%5Cf/x?t=a%26b%3Dc%252f&s=1"
        );
        let login = target.login.as_ref().unwrap();
        assert_eq!((&*login.user, &*login.password), ("me", "p@ss"));
        let named = target.destination(&event("t")).into_owned();
        assert_eq!(named, "https://shop.example/{key}/a?b#c@d:e\\f/x");
        assert!(!format!("{target:?}").contains("p@ss"));
    }

    #[test]
    fn a_value_never_changes_the_host_or_the_parts_before_it() {
        let target = target("http://shop.example/hooks/{type}/x");
        for value in [
            "@evil.example",
            "/evil.example",
            "//evil.example/",
            "\\\\evil.example",
            "?x",
            "#x",
            ":80",
            "..%2f..",
            "\u{ff0e}\u{ff0e}",
            "a\r\nhost: evil.example",
        ] {
            let event = event(value);
            let url = target.url(&event).unwrap();
            assert_eq!(url.host_str(), Some("shop.example"), "{value:?}");
            assert_eq!(url.path().split('/').count(), 4, "{value:?}: {url}");
            assert_eq!((url.query(), url.port()), (None, None), "{value:?}");
        }
    }

    #[test]
    fn an_event_that_would_leave_the_path_waits_without_others() {
        let target = target("http://shop.example/hooks/{type}/x");
        for value in [".", ".."] {
            let event = event(value);
            let error = target.url(&event).unwrap_err();
            assert_eq!(error.kind(), PublishErrorKind::Misconfigured);
            let named = target.destination(&event).into_owned();
            assert_eq!(error.destination(), Some(&*named));
            assert!(
                named.starts_with("\"http://shop.example/hooks/."),
                "{named}"
            );
        }
        assert!(target.url(&event("...")).is_ok());
    }

    #[test]
    fn an_odd_url_is_refused_and_what_may_be_secret_is_not_shown() {
        for (text, problem) in [
            ("", "no scheme"),
            ("ftp://h/secret", "no scheme"),
            ("http:h/secret", "no scheme"),
            ("http://", "host that cannot be read"),
            ("http://u:secret@/x", "host that cannot be read"),
            ("http://h:70000/secret", "host that cannot be read"),
            ("http://{type}.example/secret", "placeholder in its host"),
            ("http://u:{key}@h/secret", "placeholder in its host"),
            ("http://h/secret#x", "has a '#'"),
            ("http://h/sec ret", "a blank or a control"),
            ("http://h/a/../secret", "has a part '.' or '..'"),
            ("http://h/a/%2E%2e/secret", "has a part '.' or '..'"),
        ] {
            let error = Target::parse(text).unwrap_err();
            assert_eq!(error.kind(), outbox_core::ErrorKind::Invalid, "{text}");
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(problem), "{text}: {shown}");
            assert!(!shown.contains("secret"), "{shown}");
        }
    }

    #[test]
    fn a_value_that_is_missing_is_named() {
        let target = target("http://shop.example/{header:none}?q={header:none}");
        let event = event("x");
        let error = target.url(&event).unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Misconfigured);
        let named = "http://shop.example/{no header \"none\"}";
        assert_eq!(error.destination(), Some(named));
        assert_eq!(target.destination(&event), named);
    }
}
