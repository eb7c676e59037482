//! What the replies to a transaction say, and errors as answers.

use outbox_core::{ErrorKind, OutboxError, PublishError, PublishErrorKind};
use outbox_driver_redis::redis::{
    ErrorKind as Cause, RedisError, RedisResult, ServerError, Value, make_extension_error,
};
use std::error::Error;
use std::time::Duration;

/// For how long a worker waits when the memory of the server is full. Redis names no time.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of a transaction that Redis has run.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// The entries are in the stream.
    Added,
    /// The stream does not exist, and must not be created.
    NoStream,
    /// The entries are in the stream, and on only this number of replicas.
    Replicas(u32),
}

/// Reads the replies to `MULTI`, to each of `count` entries, to `EXEC`, and to a `WAIT` for `replicas`.
///
/// # Errors
///
/// The first error of the server, which is the cause of those behind it.
pub(crate) fn outcome(
    replies: Vec<Value>,
    count: usize,
    replicas: Option<u32>,
) -> RedisResult<Outcome> {
    if let Some(error) = replies.iter().find_map(server_error) {
        return Err(cause(error));
    }
    let mut replies = replies.into_iter().skip(count + 1);
    let Some(Value::Array(added)) = replies.next() else {
        return Err(unexpected("EXEC"));
    };
    if let Some(error) = added.iter().find_map(server_error) {
        return Err(cause(error));
    }
    if added.len() != count {
        return Err(unexpected("EXEC"));
    }
    if added.contains(&Value::Nil) {
        return Ok(Outcome::NoStream);
    }
    match (replicas, replies.next()) {
        (None, None) => Ok(Outcome::Added),
        (Some(wanted), Some(Value::Int(found))) => {
            let found = u32::try_from(found).unwrap_or_default();
            Ok(if found < wanted {
                Outcome::Replicas(found)
            } else {
                Outcome::Added
            })
        }
        _ => Err(unexpected("WAIT")),
    }
}

/// `EXEC` has its cause in its text: `EXECABORT Transaction discarded because of: OOM command not …`.
fn cause(error: &ServerError) -> RedisError {
    let detail = error.details().filter(|_| error.code() == "EXECABORT");
    let cause = detail.and_then(|text| text.split_once("because of: "));
    let Some((_, cause)) = cause else {
        return error.clone().into();
    };
    let cause = cause.trim_start_matches('-');
    let (code, detail) = cause.split_once(' ').unwrap_or((cause, ""));
    make_extension_error(code.to_owned(), Some(detail.to_owned()))
}

pub(crate) fn server_error(value: &Value) -> Option<&ServerError> {
    match value {
        Value::ServerError(error) => Some(error),
        _ => None,
    }
}

fn unexpected(command: &'static str) -> RedisError {
    let what = "unexpected reply";
    RedisError::from((Cause::UnexpectedReturnType, what, command.to_owned()))
}

/// What a server says of a request that is too large for it: Redis, Upstash, and a stream.
const TOO_LARGE: [&str; 3] = [
    "invalid bulk length",
    "max request size exceeded",
    "Elements are too large",
];

/// The error of a call as the answer to its events, about the destination if it has a name.
pub(crate) fn answer(error: OutboxError, destination: Option<&str>) -> PublishError {
    let kind = match error.kind() {
        ErrorKind::Invalid | ErrorKind::Corrupt => PublishErrorKind::Misconfigured,
        _ if code(&error) == Some("OOM") => PublishErrorKind::Throttled(PATIENCE),
        _ => PublishErrorKind::Unavailable,
    };
    let answer = PublishError::new(kind);
    let answer = match destination {
        Some(name) => answer.with_destination(name),
        None => answer,
    };
    answer.with_source(error)
}

/// Whether the server refused a request because it is too large.
pub(crate) fn is_too_large(error: &OutboxError) -> bool {
    let text = redis_error(error)
        .map(ToString::to_string)
        .unwrap_or_default();
    TOO_LARGE.iter().any(|part| text.contains(part))
}

/// Whether the error is about the stream that a request was for, and not about the server or the user.
pub(crate) fn is_of_the_stream(error: &OutboxError) -> bool {
    let Some(redis) = redis_error(error) else {
        return false;
    };
    match (error.kind(), redis.code().unwrap_or_default()) {
        (ErrorKind::Corrupt, _) => true,
        // Otherwise the user may not run the command on any key.
        (_, "NOPERM") => redis.to_string().contains(" key"),
        (_, "NOAUTH" | "WRONGPASS") => false,
        (ErrorKind::Invalid, _) => matches!(redis.kind(), Cause::Server(_)),
        _ => false,
    }
}

fn code(error: &OutboxError) -> Option<&str> {
    redis_error(error).and_then(RedisError::code)
}

fn redis_error(error: &OutboxError) -> Option<&RedisError> {
    error.source()?.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use outbox_driver_redis::redis_error;

    fn answer_to(code: &str, detail: &str) -> PublishErrorKind {
        let error = make_extension_error(code.to_owned(), Some(detail.to_owned()));
        let errors = error.into_server_errors().expect("of a server");
        let error = redis_error("publish")(cause(&errors[0].1));
        answer(error, None).kind()
    }

    #[test]
    fn an_error_is_classified_also_in_the_text_of_exec() {
        use PublishErrorKind::{Misconfigured, Throttled, Unavailable};
        for (code, kind) in [
            ("OOM", Throttled(PATIENCE)),
            ("READONLY", Unavailable),
            ("LOADING", Unavailable),
            ("MASTERDOWN", Unavailable),
            ("CLUSTERDOWN", Unavailable),
            ("TRYAGAIN", Unavailable),
            ("NOREPLICAS", Unavailable),
            ("MISCONF", Unavailable),
            ("BUSY", Unavailable),
            ("WRONGTYPE", Misconfigured),
            ("NOPERM", Misconfigured),
            ("NOAUTH", Misconfigured),
        ] {
            assert_eq!(answer_to(code, "a reason"), kind, "{code}");
            let text = format!("Transaction discarded because of: {code} a reason");
            assert_eq!(answer_to("EXECABORT", &text), kind, "{text}");
        }
    }
}
