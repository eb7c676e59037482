//! The URL of a broker, and the parameters in it that are ours.

use crate::failure::Failure;
use crate::settings::Period;
use crate::wiring::pools::Pools;
use crate::wiring::role::DESTINATION;
use outbox_core::wire::{Mode, WireForm};
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;
use url::form_urlencoded;

/// The parameters that every broker has.
pub(super) const FORM: &str = "form";
const SOURCE: &str = "source";
const TIMEOUT: &str = "timeout";
const OF_ALL: [&str; 3] = [FORM, SOURCE, TIMEOUT];

/// The parameters that name a variable or a file with a secret. In the URL itself a relay refuses one, but
/// it must not be shown either.
const SECRETS: [&str; 2] = ["secret", "database"];

/// The longest time that a call takes unless the URL or the publish timeout says less.
const LONGEST: Duration = Duration::from_secs(10);

/// A URL without the parameters that are ours.
pub(super) struct Address {
    url: String,
    shown: String,
    ours: Vec<(String, String)>,
    publish_timeout: Duration,
    store: Option<String>,
    pools: Pools,
}

impl Address {
    /// Reads a URL whose scheme is known. `ours` are the parameters of this broker, and `theirs` those
    /// that its driver knows.
    pub(super) fn parse(
        text: &str,
        ours: &[&str],
        theirs: &[&[&str]],
        publish_timeout: Duration,
    ) -> Result<Self, Failure> {
        DESTINATION.whole_login(text)?;
        let (scheme, rest) = text.split_once(':').unwrap_or_default();
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut address = Self {
            url: format!("{}:{place}", scheme.to_ascii_lowercase()),
            shown: shown(scheme, place),
            ours: Vec::new(),
            publish_timeout,
            store: None,
            pools: Pools::default(),
        };
        let theirs = theirs.concat();
        let mut behind = '?';
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = form_urlencoded::parse(pair.as_bytes()).next() else {
                continue;
            };
            if OF_ALL.contains(&&*name) || ours.contains(&&*name) {
                address.add(&name, &value)?;
            } else if name
                .split('[')
                .next()
                .is_some_and(|name| theirs.contains(&name))
            {
                // As it is written, because the driver decodes it.
                address.url.push(behind);
                address.url.push_str(pair);
                behind = '&';
            } else {
                return Err(unknown(&name, ours, &theirs));
            }
        }
        Ok(address)
    }

    /// Reads a URL whose query is the endpoint's. Our parameters are behind a '#', which is never sent.
    pub(super) fn with_fragment(
        text: &str,
        ours: &[&str],
        publish_timeout: Duration,
    ) -> Result<Self, Failure> {
        let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
        DESTINATION.whole_login(url.split('?').next().unwrap_or_default())?;
        let (scheme, rest) = url.split_once(':').unwrap_or_default();
        let place = rest.split('?').next().unwrap_or_default();
        let mut address = Self {
            url: url.to_owned(),
            shown: shown(scheme, place),
            ours: Vec::new(),
            publish_timeout,
            store: None,
            pools: Pools::default(),
        };
        for (name, value) in form_urlencoded::parse(fragment.as_bytes()) {
            if !OF_ALL.contains(&&*name) && !ours.contains(&&*name) {
                return Err(unknown(&name, ours, &[]));
            }
            address.add(&name, &value)?;
        }
        Ok(address)
    }

    fn add(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        // The decoder replaces bytes that are not UTF-8.
        if value.contains(char::REPLACEMENT_CHARACTER) {
            return Err(refused(name, value, "it is not UTF-8"));
        }
        if self.value(name).is_some() {
            return Err(DESTINATION.refused(format_args!("has more than one {name}")));
        }
        self.ours.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    pub(super) fn with_store(mut self, store: Option<(&str, &Pools)>) -> Self {
        if let Some((url, pools)) = store {
            self.store = Some(url.to_owned());
            self.pools = pools.clone();
        }
        self
    }

    /// The connections to PostgreSQL of the relay.
    pub(super) fn pools(&self) -> &Pools {
        &self.pools
    }

    /// The URL of the relay's store; none in a check.
    pub(super) fn store(&self) -> Option<&str> {
        self.store.as_deref()
    }

    /// The URL for the driver, with its login.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The URL without its login and its parameters.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// The URL without its login, with the parameters that are ours, and without a secret.
    pub(super) fn shown_with_ours(&self, behind: char) -> String {
        if self.ours.is_empty() {
            return self.shown.clone();
        }
        let mut shown = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.ours {
            let is_named = value.starts_with("env:") || value.starts_with("file:");
            let hides = SECRETS.contains(&&**name) && !is_named;
            shown.append_pair(name, if hides { "***" } else { value });
        }
        format!("{}{behind}{}", self.shown, shown.finish())
    }

    /// The URL without its login, with those of its parameters that have one of the names, in their order. For
    /// people: the values are not encoded.
    pub(super) fn place(&self, behind: char, names: &[&str]) -> String {
        let theirs = self.url.split_once('?').unwrap_or_default().1;
        let theirs: Vec<_> = form_urlencoded::parse(theirs.as_bytes()).collect();
        let parameters = names.iter().filter_map(|name| {
            let their = || theirs.iter().find(|(other, _)| other == name);
            let value = self.value(name).or_else(|| Some(&*their()?.1))?;
            Some(format!("{name}={value}"))
        });
        let parameters: Vec<String> = parameters.collect();
        if parameters.is_empty() {
            return self.shown.clone();
        }
        format!("{}{behind}{}", self.shown, parameters.join("&"))
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let mut named = self.ours.iter().filter(|(other, _)| other == name);
        named.next().map(|(_, value)| &**value)
    }

    /// The value of one of our parameters, if the URL has it.
    pub(super) fn parameter<T: FromStr<Err: Display>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, Failure> {
        let value = self.value(name).map(|value| {
            let parsed = value.parse::<T>();
            parsed.map_err(|error| refused(name, value, &error.to_string()))
        });
        value.transpose()
    }

    /// The form in which events are sent.
    pub(super) fn form(&self) -> Result<WireForm, Failure> {
        let form = WireForm::new(self.parameter::<Mode>(FORM)?.unwrap_or_default());
        match self.value(SOURCE) {
            None => Ok(form),
            Some(source) => form
                .source(source)
                .map_err(|error| refused(SOURCE, source, &error.to_string())),
        }
    }

    /// How long a call may take. It is shorter than the publish timeout: else the relay would not learn
    /// why a call takes so long, and would count a failed attempt of an event that is alone in it.
    pub(super) fn timeout(&self) -> Result<Duration, Failure> {
        let publish = self.publish_timeout;
        let Some(timeout) = self.parameter::<Period>(TIMEOUT)?.map(Duration::from) else {
            return Ok(LONGEST.min(publish * 3 / 4));
        };
        if timeout < publish {
            return Ok(timeout);
        }
        let length = humantime::format_duration;
        Err(Failure::Input(format!(
            "destination has the timeout {}, but it must be shorter than the publish timeout ({})",
            length(timeout),
            length(publish)
        )))
    }
}

/// Refuses a parameter that this program defines. Its value is not a password, so the error shows it.
fn refused(name: &str, value: &str, why: &str) -> Failure {
    Failure::Input(format!("destination has {name}={value:?}: {why}"))
}

/// Without the value, which may be a password.
fn unknown(parameter: &str, ours: &[&str], theirs: &[&str]) -> Failure {
    let allowed = [ours, &OF_ALL, theirs].concat().join(", ");
    Failure::Input(format!(
        "destination has the unknown parameter {parameter:?}; allowed: {allowed}"
    ))
}

/// All behind the last '@', because a password may have any other character.
fn shown(scheme: &str, place: &str) -> String {
    let behind = place.trim_start_matches('/');
    let slashes = &place[..place.len() - behind.len()];
    let place = behind.rsplit('@').next().unwrap_or_default();
    format!("{}:{slashes}{place}", scheme.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn parse(text: &str) -> Result<Address, Failure> {
        Address::parse(text, &["subject"], &[&["tls"]], LIMIT)
    }

    #[test]
    fn our_parameters_are_taken_out_and_the_drivers_stay_as_they_are_written() {
        let text = "NATS://me:p%40ss@h:1,i/x?tls=a%26b&subject=a.%7Btype%7D&form=raw&tls=2";
        let address = parse(text).unwrap();
        assert_eq!(address.url(), "nats://me:p%40ss@h:1,i/x?tls=a%26b&tls=2");
        assert_eq!(address.shown(), "nats://h:1,i/x");
        assert_eq!(address.value("subject"), Some("a.{type}"));
        assert_eq!(
            address.place('?', &["subject"]),
            "nats://h:1,i/x?subject=a.{type}"
        );
        assert_eq!(
            address.place('?', &["tls", "form"]),
            "nats://h:1,i/x?tls=a&b&form=raw"
        );
        assert_eq!(address.place('?', &["stream"]), "nats://h:1,i/x");
        let braces = parse("nats://h?subject=a.{type}").unwrap();
        assert_eq!(braces.value("subject"), Some("a.{type}"));
        assert_eq!(braces.url(), "nats://h");
    }

    #[test]
    fn the_query_of_an_endpoint_stays_and_our_parameters_are_behind_it() {
        let text = "https://me:p%40ss@h/x?form=1&a=%26#form=raw&subject=b%20c";
        let address = Address::with_fragment(text, &["subject"], LIMIT).unwrap();
        assert_eq!(address.url(), "https://me:p%40ss@h/x?form=1&a=%26");
        assert_eq!(address.shown(), "https://h/x");
        assert_eq!(address.value("form"), Some("raw"));
        assert_eq!(address.value("subject"), Some("b c"));
        assert!(Address::with_fragment("https://h#tls=1", &["subject"], LIMIT).is_err());
    }

    #[test]
    fn a_timeout_is_shorter_than_the_publish_timeout() {
        let timeout = |query: &str| parse(&format!("nats://h?{query}")).unwrap().timeout();
        assert_eq!(timeout("").unwrap(), Duration::from_millis(7500));
        assert_eq!(timeout("timeout=9s").unwrap(), Duration::from_secs(9));
        let error = timeout("timeout=10s").unwrap_err().to_string();
        assert!(
            error.contains("shorter than the publish timeout (10s)"),
            "{error}"
        );
        let long = Address::parse("nats://h", &[], &[], Duration::from_secs(3600)).unwrap();
        assert_eq!(long.timeout().unwrap(), LONGEST);
    }
}
