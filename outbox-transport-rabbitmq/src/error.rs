//! What the errors of lapin and the words of the broker mean to the worker.

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::{Error, ErrorKind};
use outbox_core::{PublishError, PublishErrorKind};
use std::io;

/// The cause of a channel that the broker closed because of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// The exchange does not exist, or this user may not publish there.
    Exchange,
    /// This user may not use the routing key.
    Topic,
    /// The message is too large.
    Size,
    /// The message, for another reason. RabbitMQ has none, but plugins and other brokers do.
    Message,
}

/// Whether `error` is the answer to a message on the channel, and to what of it.
pub(crate) fn refusal(error: &Error) -> Option<Refusal> {
    let ErrorKind::ProtocolError(error) = error.kind() else {
        return None;
    };
    let AMQPErrorKind::Soft(soft) = error.kind() else {
        return None;
    };
    let message = error.get_message().as_str();
    match soft {
        AMQPSoftError::ACCESSREFUSED if message.contains("to topic ") => Some(Refusal::Topic),
        AMQPSoftError::ACCESSREFUSED | AMQPSoftError::NOTFOUND => Some(Refusal::Exchange),
        AMQPSoftError::CONTENTTOOLARGE => Some(Refusal::Size),
        AMQPSoftError::PRECONDITIONFAILED if message.contains(" size ") => Some(Refusal::Size),
        AMQPSoftError::PRECONDITIONFAILED => Some(Refusal::Message),
        _ => None,
    }
}

/// The server answers in another protocol, for example with an alert because it expects TLS.
#[derive(Debug, thiserror::Error)]
#[error("the server does not answer in AMQP 0.9.1; a port for TLS needs amqps://")]
struct NotAmqp(#[source] Error);

/// Why no connection could be opened.
pub(crate) fn not_connected(error: Error) -> PublishError {
    let kind = match error.kind() {
        ErrorKind::ParsingError(_) => {
            return PublishError::new(PublishErrorKind::Misconfigured).with_source(NotAmqp(error));
        }
        ErrorKind::ProtocolError(refused) => {
            refused_login(refused.kind(), refused.get_message().as_str())
        }
        ErrorKind::AuthProviderError(_) | ErrorKind::InvalidProtocolVersion(_) => {
            PublishErrorKind::Misconfigured
        }
        // Rustls refuses a certificate in this way.
        ErrorKind::IOError(error) if error.kind() == io::ErrorKind::InvalidData => {
            PublishErrorKind::Misconfigured
        }
        _ => PublishErrorKind::Unavailable,
    };
    PublishError::new(kind).with_source(error)
}

/// A wrong password or virtual host must be repaired. A limit to the number of connections passes.
fn refused_login(kind: &AMQPErrorKind, message: &str) -> PublishErrorKind {
    let is_refused = matches!(
        kind,
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)
            | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED)
    );
    if is_refused && !message.contains("limit") && !message.contains(" is down") {
        PublishErrorKind::Misconfigured
    } else {
        PublishErrorKind::Unavailable
    }
}

pub(crate) fn unavailable(
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> PublishError {
    PublishError::new(PublishErrorKind::Unavailable).with_source(cause)
}
