//! Errors of Redis as errors that say what the caller may do.

use outbox_core::{ErrorKind, OutboxError};
use redis::{ErrorKind as Cause, RedisError, ServerErrorKind};

pub(crate) const BACKEND: &str = "redis";
pub(crate) const OPEN: &str = "open";

/// Turns an error of Redis in `operation` into one that says what the caller may do.
pub fn redis_error(operation: &'static str) -> impl Fn(RedisError) -> OutboxError {
    move |error| OutboxError::new(kind(&error), BACKEND, operation).with_source(error)
}

/// An error that this crate found, and that may pass.
pub(crate) fn unavailable(operation: &'static str, problem: impl Into<String>) -> OutboxError {
    OutboxError::new(ErrorKind::Unavailable, BACKEND, operation).with_source(problem.into())
}

/// Whether the same request can succeed later, perhaps on another connection.
pub(crate) fn is_temporary(error: &RedisError) -> bool {
    kind(error) == ErrorKind::Unavailable
}

fn kind(error: &RedisError) -> ErrorKind {
    if is_of_a_certificate(error) {
        return ErrorKind::Invalid;
    }
    match (error.kind(), error.code().unwrap_or_default()) {
        // One of our keys has another type.
        (_, "WRONGTYPE") => ErrorKind::Corrupt,
        // The caller must change a login, a privilege or a URL, or the server is too old.
        (_, "NOAUTH" | "NOPERM" | "WRONGPASS")
        | (
            Cause::AuthenticationFailed
            | Cause::InvalidClientConfig
            | Cause::Client
            | Cause::EmptySentinelList
            | Cause::RESP3NotSupported
            | Cause::Server(ServerErrorKind::CrossSlot),
            _,
        ) => ErrorKind::Invalid,
        (Cause::Server(ServerErrorKind::ResponseError), _) => kind_of_text(error.detail()),
        // The network, a replica, a full memory, a failover: all may pass.
        _ => ErrorKind::Unavailable,
    }
}

/// A refused certificate is refused again until an operator changes it.
#[cfg(any(
    feature = "tls-rustls-ring-native-roots",
    feature = "tls-rustls-ring-webpki"
))]
fn is_of_a_certificate(error: &RedisError) -> bool {
    use std::error::Error;
    type Shared = std::sync::Arc<dyn Error + Send + Sync>;

    // The source of a `RedisError` is an `Arc` with the error in it.
    let shared = error
        .source()
        .and_then(|source| source.downcast_ref::<Shared>());
    let io = shared.and_then(|shared| shared.downcast_ref::<std::io::Error>());
    let inner = io.and_then(|io| io.get_ref()?.downcast_ref());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

#[cfg(not(any(
    feature = "tls-rustls-ring-native-roots",
    feature = "tls-rustls-ring-webpki"
)))]
fn is_of_a_certificate(_: &RedisError) -> bool {
    false
}

/// The codes of errors that pass by themselves: when a script, a load, a failover or a shortage ends.
const TEMPORARY: &[&str] = &[
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "TRYAGAIN",
];

/// Texts of a server or a proxy that have no code. The third one is of twemproxy, when its server is away.
const TEMPORARY_TEXTS: &[&str] = &[
    "max number of clients",
    "is loading the dataset",
    "Connection refused",
    "Connection reset",
    "Connection timed out",
    "Host is down",
    "is busy running a script",
];

/// The kind of an error without a specific code. Before Redis 7.0 an error in a script has its code
/// after the line number: `…: 156: -READONLY …` or `…:156: WRONGTYPE …`.
fn kind_of_text(detail: Option<&str>) -> ErrorKind {
    let detail = detail.unwrap_or_default();
    let behind = detail
        .rsplit_once(": ")
        .map_or(detail, |(_, behind)| behind);
    let code = behind.trim_start_matches('-').split(' ').next();
    match code.unwrap_or_default() {
        "WRONGTYPE" => ErrorKind::Corrupt,
        code if TEMPORARY.contains(&code) => ErrorKind::Unavailable,
        _ if TEMPORARY_TEXTS.iter().any(|text| detail.contains(text)) => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::make_extension_error;

    #[test]
    fn each_error_says_what_the_caller_may_do() {
        for (code, kind_of) in [
            ("WRONGTYPE", ErrorKind::Corrupt),
            ("NOAUTH", ErrorKind::Invalid),
            ("WRONGPASS", ErrorKind::Invalid),
            ("NOPERM", ErrorKind::Invalid),
            ("OOM", ErrorKind::Unavailable),
            ("MISCONF", ErrorKind::Unavailable),
            ("BUSY", ErrorKind::Unavailable),
            ("NOREPLICAS", ErrorKind::Unavailable),
        ] {
            let error = make_extension_error(code.to_owned(), None);
            assert_eq!(kind(&error), kind_of, "{code}");
        }
        for (cause, kind_of) in [
            (Cause::AuthenticationFailed, ErrorKind::Invalid),
            (Cause::InvalidClientConfig, ErrorKind::Invalid),
            (Cause::Server(ServerErrorKind::NoPerm), ErrorKind::Invalid),
            (
                Cause::Server(ServerErrorKind::ResponseError),
                ErrorKind::Invalid,
            ),
            (
                Cause::Server(ServerErrorKind::ReadOnly),
                ErrorKind::Unavailable,
            ),
            (
                Cause::Server(ServerErrorKind::BusyLoading),
                ErrorKind::Unavailable,
            ),
            (
                Cause::Server(ServerErrorKind::ClusterDown),
                ErrorKind::Unavailable,
            ),
            (Cause::Io, ErrorKind::Unavailable),
        ] {
            assert_eq!(kind(&(cause, "a test").into()), kind_of, "{cause:?}");
        }
        for (detail, kind_of) in [
            ("max number of clients reached", ErrorKind::Unavailable),
            ("max number of clients + cluster", ErrorKind::Unavailable),
            ("script: 156: -LOADING Redis is", ErrorKind::Unavailable),
            ("script: 156: -TRYAGAIN Multiple", ErrorKind::Unavailable),
            ("DB index is out of range", ErrorKind::Invalid),
            ("invalid password", ErrorKind::Invalid),
            ("script: 156: -READONLY You can't", ErrorKind::Unavailable),
            ("script: 156: -OOM command not", ErrorKind::Unavailable),
            ("script:156: WRONGTYPE Operation", ErrorKind::Corrupt),
            ("script: 156: -ERR syntax", ErrorKind::Invalid),
            ("script: 156: attempt to index", ErrorKind::Invalid),
        ] {
            let cause = Cause::Server(ServerErrorKind::ResponseError);
            let error = (cause, "an error", detail.to_owned()).into();
            assert_eq!(kind(&error), kind_of, "{detail}");
        }
    }
}
