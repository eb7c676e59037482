//! What an error of the driver or of the server means for an event.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::PublishErrorKind as Cause;
use async_nats::{ConnectError, ConnectErrorKind, ServerError, jetstream, rustls};
use outbox_core::{PublishError, PublishErrorKind};
use std::error::Error;
use std::time::Duration;

/// For how long events to a full stream wait.
const FULL: Duration = Duration::from_secs(1);

/// The errors of a server that ends a connection for its login or for a lack of TLS.
const LOGINS: [&str; 4] = [
    "authorization violation",
    "authentication expired",
    "authentication revoked",
    "tls required",
];

/// Why no connection was made.
pub(crate) fn connect_error(error: ConnectError) -> PublishError {
    let kind = match error.kind() {
        ConnectErrorKind::AuthorizationViolation
        | ConnectErrorKind::Authentication
        | ConnectErrorKind::ServerParse
        | ConnectErrorKind::Tls => PublishErrorKind::Misconfigured,
        _ if is_for_a_person(&error) => PublishErrorKind::Misconfigured,
        _ => PublishErrorKind::Unavailable,
    };
    PublishError::new(kind).with_source(error)
}

/// Whether a certificate or a login was refused.
fn is_for_a_person(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| {
        let is_login = |text: &str| {
            let text = text.to_lowercase();
            LOGINS.iter().any(|login| text.contains(login))
        };
        match cause.downcast_ref() {
            Some(ServerError::AuthorizationViolation) => true,
            Some(ServerError::Other(text)) => is_login(text),
            _ => cause.is::<rustls::Error>(),
        }
    })
}

/// An error and its causes. The cause within an [`std::io::Error`] is not among its sources.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'e (dyn Error + 'static) = *error;
        let io = error.downcast_ref::<std::io::Error>();
        match io.and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

/// What the answer to an event means.
pub(crate) enum Failure {
    /// The kind of the error is known. `true` if it is about the destination, and not about the
    /// connection.
    Known(PublishErrorKind, bool),
    /// No stream and no other program subscribes to the subject.
    NoResponders,
    /// No answer came.
    Silence,
}

/// `is_alive` says whether the connection of the answer still exists.
pub(crate) fn failure(error: &jetstream::context::PublishError, is_alive: bool) -> Failure {
    match error.kind() {
        Cause::StreamNotFound => Failure::NoResponders,
        Cause::TimedOut => Failure::Silence,
        Cause::BrokenPipe | Cause::MaxAckPending => {
            Failure::Known(PublishErrorKind::Unavailable, false)
        }
        Cause::MaxPayloadExceeded => Failure::Known(PublishErrorKind::Permanent, true),
        Cause::WrongLastMessageId | Cause::WrongLastSequence => {
            Failure::Known(PublishErrorKind::Misconfigured, true)
        }
        Cause::Other => other(error, is_alive),
    }
}

fn other(error: &jetstream::context::PublishError, is_alive: bool) -> Failure {
    let answer = error.source().and_then(<dyn Error>::downcast_ref);
    match answer {
        Some(answer) => Failure::Known(kind(answer), true),
        // Another program, and not a stream, answers on this subject.
        None if is_alive => Failure::Known(PublishErrorKind::Misconfigured, true),
        // The connection ended before the driver took the message.
        None => Failure::Known(PublishErrorKind::Unavailable, false),
    }
}

/// What the server of a stream means by an error.
fn kind(error: &jetstream::Error) -> PublishErrorKind {
    match error.error_code() {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => {
            PublishErrorKind::Permanent
        }
        ErrorCode::STREAM_STORE_FAILED if is_too_large(error) => PublishErrorKind::Permanent,
        ErrorCode::STREAM_STORE_FAILED
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::MEMORY_RESOURCES_EXCEEDED
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::STREAM_TOO_MANY_REQUESTS => PublishErrorKind::Throttled(FULL),
        ErrorCode::STREAM_SEALED
        | ErrorCode::STREAM_NOT_MATCH
        | ErrorCode::STREAM_NOT_FOUND
        | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT
        | ErrorCode::STREAM_ROLLUP_FAILED
        | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
        | ErrorCode::JETSTREAM_NOT_ENABLED => PublishErrorKind::Misconfigured,
        // The same message is just being stored.
        ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT => PublishErrorKind::Unavailable,
        _ if error.code() < 500 => PublishErrorKind::Rejected,
        _ => PublishErrorKind::Unavailable,
    }
}

/// The code is that of any error of the store, so the text decides. Servers spell it in two ways.
fn is_too_large(error: &jetstream::Error) -> bool {
    let text = error.to_string();
    text.contains("message to large") || text.contains("message too large")
}
