//! The URLs of brokers.

use crate::config::invalid;
use lapin::uri::AMQPUri;
use outbox_core::OutboxError;

const SCHEMES: [&str; 2] = ["amqp", "amqps"];

/// `connection_timeout` is part of the specification, but the call timeout has its place here.
const PARAMETERS: [&str; 4] = ["auth_mechanism", "channel_max", "frame_max", "heartbeat"];

/// Reads a URL. No error has a part of it that may be secret.
pub(crate) fn parse(url: &str) -> Result<AMQPUri, OutboxError> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let allowed = SCHEMES.join(" or ");
    if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
        return Err(invalid(format!(
            "URL has no scheme, but must have {allowed}"
        )));
    }
    if !SCHEMES.contains(&&*scheme.to_ascii_lowercase()) {
        let problem = format!("scheme is {scheme:?}, but must be {allowed}");
        return Err(invalid(problem));
    }
    let (rest, _fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    check_parameters(query)?;
    // The reason may quote the URL.
    let mut uri: AMQPUri = url.parse().map_err(|_| {
        invalid("URL cannot be read, but must be such as amqp://USER:PASSWORD@HOST:5672/VHOST")
    })?;
    let authority = place.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.is_empty() || host.starts_with(':') {
        return Err(invalid("URL has no host, but must have one"));
    }
    // The parser of lapin takes an IPv6 address for no host, and connects to localhost.
    if let Some((address, _)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        address.clone_into(&mut uri.authority.host);
    }
    Ok(uri)
}

/// Lapin ignores parameters that it does not know, also `verify` and `cacertfile`.
fn check_parameters(query: &str) -> Result<(), OutboxError> {
    let allowed = PARAMETERS.join(", ");
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, _value) = pair.split_once('=').unwrap_or((pair, ""));
        if !PARAMETERS.contains(&name) {
            let problem = format!("URL has the parameter {name:?}, but may have only {allowed}");
            return Err(invalid(problem));
        }
        if seen.contains(&name) {
            return Err(invalid(format!("URL has the parameter {name} twice")));
        }
        seen.push(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use outbox_core::ErrorKind;

    #[test]
    fn a_url_is_read_as_the_specification_of_rabbitmq_says() {
        for (url, host, port, vhost) in [
            ("amqp://mq.example", "mq.example", 5672, "/"),
            ("amqp://mq.example:5673/%2f", "mq.example", 5673, "/"),
            ("amqp://mq.example/", "mq.example", 5672, ""),
            ("AMQP://mq.example/a%2Fb", "mq.example", 5672, "a/b"),
            ("amqps://mq.example/shop", "mq.example", 5671, "shop"),
            ("amqp://127.0.0.1/shop", "127.0.0.1", 5672, "shop"),
            ("amqp://u:p@[2001:db8::1]:5673/v", "2001:db8::1", 5673, "v"),
            ("amqp://[::1]", "::1", 5672, "/"),
        ] {
            let uri = parse(url).unwrap();
            let read = (&*uri.authority.host, uri.authority.port, &*uri.vhost);
            assert_eq!(read, (host, port, vhost), "{url}");
        }
        let uri = parse("amqp://m%40e:s%2Fc%23t@host?heartbeat=7&frame_max=8192").unwrap();
        let login = uri.authority.userinfo;
        assert_eq!((&*login.username, &*login.password), ("m@e", "s/c#t"));
        assert_eq!(uri.query.heartbeat, Some(7));
        assert_eq!(uri.query.frame_max, Some(8192));
    }

    #[test]
    fn an_odd_url_is_refused_without_its_password() {
        for url in [
            "",
            "amqp:user:secret@host",
            "amqp:/user:secret@host",
            "user:secret@host://x",
            "http://user:secret@host",
            "amqp://user:secret@",
            "amqp://user:secret@:5672/x",
            "amqp:///secret",
            "amqp://user:secret@host:port",
            "amqp://user:secret@host:70000",
            "amqp://user:se%FFcret@host",
            "amqp://user:secret@host/%ff",
            "amqp://user:secret@host?heartbeat=often",
            "amqp://user:secret@host?auth_mechanism=secret",
            "amqp://user:secret@host?verify=verify_peer",
            "amqp://user:secret@host?heartbeat=1&heartbeat=2",
            "amqp://user:sec ret@[host",
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
            let text = format!("{error} {error:?}");
            assert!(
                !text.contains("secret") && !text.contains("user:"),
                "{text}"
            );
        }
    }
}
