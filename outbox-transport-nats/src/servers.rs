//! The servers and the login in a URL.

use crate::config::invalid;
use async_nats::ServerAddr;
use outbox_core::OutboxError;
use percent_encoding::percent_decode_str;

/// Proves to a server who its client is. It has no `Debug`.
#[derive(Eq, PartialEq)]
pub(crate) enum Login {
    User(String, String),
    Token(String),
}

/// The servers of a URL, with their login.
pub(crate) fn parse_servers(url: &str) -> Result<Vec<ServerAddr>, OutboxError> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(invalid(
            "URL has no scheme, but must start with nats:// or tls://",
        ));
    };
    check_scheme(scheme)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let mut servers = Vec::new();
    let mut login = None;
    for (entry, number) in rest.split(',').zip(1..) {
        let (scheme, host) = entry.split_once("://").unwrap_or((scheme, entry));
        check_scheme(scheme)?;
        let address = format!("{scheme}://{host}");
        let server = parse_server(&address).ok_or_else(|| {
            invalid(format!(
                "server {number} of the URL is not a host with a port, but must be one, such as \
                 broker.example:4222; special characters of a login must be percent-encoded"
            ))
        })?;
        let (_, found) = take_login(server.clone());
        if login.is_some() && found.is_some() && login != found {
            return Err(invalid(
                "URL has several logins, but must have one for all servers",
            ));
        }
        login = login.or(found);
        servers.push(server);
    }
    Ok(servers)
}

fn check_scheme(scheme: &str) -> Result<(), OutboxError> {
    if ["nats", "tls"].contains(&scheme) {
        return Ok(());
    }
    // Anything else may be a part of a password.
    let is_name = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let shown = if is_name { scheme } else { "unreadable" };
    Err(invalid(format!(
        "scheme is {shown:?}, but must be nats or tls"
    )))
}

fn parse_server(address: &str) -> Option<ServerAddr> {
    let server: ServerAddr = address.parse().ok()?;
    let url = server.clone().into_inner();
    let is_plain = ["", "/"].contains(&url.path())
        && url.query().is_none()
        && url.fragment().is_none()
        && url.port() != Some(0);
    (is_plain && !server.host().is_empty()).then_some(server)
}

/// The server without its login, which the driver would print and does not use.
pub(crate) fn take_login(server: ServerAddr) -> (ServerAddr, Option<Login>) {
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let login = match (server.username(), server.password()) {
        (Some(token), None) => Some(Login::Token(decoded(token))),
        (user, Some(password)) => Some(Login::User(
            decoded(user.unwrap_or_default()),
            decoded(password),
        )),
        (None, None) => None,
    };
    let mut url = server.clone().into_inner();
    let is_without = url.set_username("").is_ok() && url.set_password(None).is_ok();
    let stripped = ServerAddr::from_url(url).ok().filter(|_| is_without);
    (stripped.unwrap_or(server), login)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_servers_share_a_scheme_and_a_login() {
        let url = "tls://me:p%40ss%2C@a.example,b.example:4223,nats://[::1]:1/";
        let servers = parse_servers(url).unwrap();
        let (stripped, logins): (Vec<_>, Vec<_>) = servers.into_iter().map(take_login).unzip();
        let shown: Vec<&str> = stripped.iter().map(ServerAddr::as_url_str).collect();
        assert_eq!(
            shown,
            ["tls://a.example", "tls://b.example:4223", "nats://[::1]:1"]
        );
        let user = Login::User("me".to_owned(), "p@ss,".to_owned());
        assert!(logins == [Some(user), None, None]);
    }

    #[test]
    fn a_login_without_a_password_is_a_token() {
        let server = parse_servers("nats://t%3A0@a.example").unwrap().remove(0);
        assert!(take_login(server).1 == Some(Login::Token("t:0".to_owned())));
        let server = parse_servers("nats://:secret@a.example").unwrap().remove(0);
        assert!(take_login(server).1 == Some(Login::User(String::new(), "secret".to_owned())));
    }

    #[test]
    fn another_url_is_refused_without_its_password() {
        for (url, problem) in [
            (
                "hunter2",
                "URL has no scheme, but must start with nats:// or tls://",
            ),
            ("hunter2:@a.example", "URL has no scheme"),
            (
                "amqp://me:hunter2@a.example",
                "scheme is \"amqp\", but must be nats or tls",
            ),
            ("me:hunter2@nats://a.example", "scheme is \"unreadable\""),
            ("ws://hunter2@a.example", "scheme is \"ws\""),
            ("nats://", "server 1 of the URL is not a host"),
            ("nats://me:hunter2@", "server 1 of the URL"),
            ("nats://me:hunt,er2@a.example", "server 1 of the URL"),
            (
                "nats://a.example,me:hunter2@b.example:x",
                "server 2 of the URL",
            ),
            ("nats://a.example,", "server 2 of the URL"),
            ("nats://a.example:0", "server 1 of the URL"),
            ("nats://hunter2@a.example/orders", "server 1 of the URL"),
            ("nats://hunter2@a.example?subject=x", "server 1 of the URL"),
            ("nats://hunter2@a.example#x", "server 1 of the URL"),
            (
                "nats://a:hunter2@a.example,b:hunter2@b.example",
                "URL has several logins",
            ),
        ] {
            let error = parse_servers(url).unwrap_err();
            assert_eq!(error.kind(), outbox_core::ErrorKind::Invalid);
            let text = format!("{error} {error:?}");
            assert!(text.contains(problem), "{url}: {text}");
            assert!(!text.contains("hunt"), "{text}");
        }
    }
}
