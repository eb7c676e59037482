//! The URLs of clusters.

use crate::config::{KafkaConfig, PROTOCOL, invalid};
use outbox_core::OutboxError;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

const PLAIN: &str = "kafka";
const TLS: &str = "kafkas";

/// The properties of librdkafka that a URL may have. A program sets others in the config.
const PARAMETERS: [&str; 8] = [
    "client.id",
    "compression.type",
    "linger.ms",
    MECHANISM,
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
];
const MECHANISM: &str = "sasl.mechanism";

/// Reads a URL. No error has a part of it that may be secret.
pub(crate) fn parse(url: &str) -> Result<KafkaConfig, OutboxError> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let is_tls = scheme.eq_ignore_ascii_case(TLS);
    if !is_tls && !scheme.eq_ignore_ascii_case(PLAIN) {
        let problem = format!("scheme of the URL must be {PLAIN} or {TLS}, but is another one");
        return Err(invalid(problem));
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, topic) = place.split_once('/').unwrap_or((place, ""));
    let (login, brokers) = match authority.rsplit_once('@') {
        Some((login, brokers)) => (Some(login), brokers),
        None => (None, authority),
    };
    if !is_list(brokers) {
        return Err(invalid(
            "URL has no list of brokers, but must be such as kafka://broker-1:9092,broker-2:9092/topic",
        ));
    }
    let mut config = KafkaConfig::new(brokers);
    if !topic.is_empty() {
        config = config.topic(decode(topic, "topic")?.parse()?);
    }
    config = match login {
        Some(login) => logged_in(config, login)?,
        None => config,
    };
    let protocol = match (login.is_some(), is_tls) {
        (false, false) => "plaintext",
        (false, true) => "ssl",
        (true, false) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };
    parameters(config.property(PROTOCOL, protocol), query)
}

/// Brokers with a host each, and a port or none.
fn is_list(brokers: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    brokers.split(',').all(|broker| {
        let (host, port) = match broker.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, is_port(port)),
            _ => (broker, true),
        };
        let is_address = host.starts_with('[') && host.ends_with(']');
        port && !host.is_empty() && (is_address || !host.contains([':', '[', ']', ' ']))
    })
}

fn logged_in(config: KafkaConfig, login: &str) -> Result<KafkaConfig, OutboxError> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    Ok(config
        .property(MECHANISM, "PLAIN")
        .property("sasl.username", decode(user, "user")?)
        .property("sasl.password", decode(password, "password")?))
}

fn parameters(mut config: KafkaConfig, query: &str) -> Result<KafkaConfig, OutboxError> {
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !PARAMETERS.contains(&name) {
            let allowed = PARAMETERS.join(", ");
            let problem = format!("URL has the parameter {name:?}, but may have only {allowed}");
            return Err(invalid(problem));
        }
        if seen.contains(&name) {
            return Err(invalid(format!("URL has the parameter {name} twice")));
        }
        seen.push(name);
        config = config.property(name, decode(value, name)?);
    }
    Ok(config)
}

fn decode<'t>(text: &'t str, what: &str) -> Result<Cow<'t, str>, OutboxError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map_err(|_| invalid(format!("{what} of the URL is not UTF-8, but must be text")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use outbox_core::ErrorKind;

    #[test]
    fn a_url_sets_properties_of_librdkafka() {
        let url = "KAFKA://m%40e:s%2Fc%23t@b-1:9092,[::1]:9093,b-3/shop.{type}?linger.ms=7";
        let config = parse(url).unwrap();
        let client = config.client();
        for (name, value) in [
            ("bootstrap.servers", "b-1:9092,[::1]:9093,b-3"),
            ("sasl.username", "m@e"),
            ("sasl.password", "s/c#t"),
            ("sasl.mechanism", "PLAIN"),
            (PROTOCOL, "sasl_plaintext"),
            ("linger.ms", "7"),
            ("acks", "all"),
        ] {
            assert_eq!(client.get(name), Some(value), "{name}");
        }
        assert_eq!(config.topic.to_string(), "shop.{type}");
        assert!(!format!("{config:?}").contains("s/c#t"), "{config:?}");
        let plain = parse("kafka://b-1").unwrap();
        assert_eq!(plain.topic.to_string(), "outbox");
        assert_eq!(plain.client().get(PROTOCOL), Some("plaintext"));
        let scram = parse("kafkas://me:x@b-1?sasl.mechanism=SCRAM-SHA-512").unwrap();
        assert_eq!(scram.client().get("sasl.mechanism"), Some("SCRAM-SHA-512"));
        assert_eq!(scram.client().get(PROTOCOL), Some("sasl_ssl"));
    }

    #[test]
    fn an_odd_url_is_refused_without_its_password() {
        for url in [
            "",
            "kafka:me:secret@b-1",
            "me:secret@b-1://x",
            "http://me:secret@b-1",
            "kafka://me:secret@",
            "kafka://me:secret@b-1,",
            "kafka://me:secret@:9092",
            "kafka://me:secret@b-1:secret",
            "kafka://me:secret@b-1:0",
            "kafka://me:se%FFcret@b-1",
            "kafka://me:secret@b-1/%FF",
            "kafka://me:secret@b-1/a.{typ}",
            "kafka://me:secret@b-1?acks=1",
            "kafka://me:secret@b-1?linger.ms=1&linger.ms=2",
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
            let text = format!("{error} {error:?}");
            assert!(!text.contains("secret") && !text.contains("me:"), "{text}");
        }
    }
}
