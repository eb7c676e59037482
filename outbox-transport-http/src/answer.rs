//! What the answer of an endpoint, or the lack of one, means for an event.

use crate::network::Forbidden;
use outbox_core::PublishErrorKind as Kind;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::error::Error;
use std::time::{Duration, SystemTime};

/// An endpoint that asks for no time at all would get all events at once, again and again.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// As the worker does.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// The kind of the error of a status; `None` if the endpoint has taken the event.
pub(crate) fn kind(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Option<Kind> {
    Some(match status.as_u16() {
        200..=299 => return None,
        408 | 425 | 429 | 502 | 503 | 504 => {
            retry_after(headers, now).map_or(Kind::Unavailable, Kind::Throttled)
        }
        300..=399 | 401 | 403 | 404 | 410 => Kind::Misconfigured,
        413 | 415 => Kind::Permanent,
        400..=499 => Kind::Rejected,
        // Also an endpoint that wants to speak another protocol.
        _ => Kind::Unavailable,
    })
}

/// How long the endpoint asks to wait: in seconds, or until a time.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let pause = if is_number {
        text.parse().map_or(LONGEST_PAUSE, Duration::from_secs)
    } else {
        let until = httpdate::parse_http_date(text).ok()?;
        until.duration_since(now).unwrap_or_default()
    };
    Some(pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE))
}

/// The kind of the error of a request that got no answer.
pub(crate) fn failure(error: &reqwest::Error) -> Kind {
    let is_for_a_person = causes(error).any(|cause| cause.is::<Forbidden>() || is_tls(cause));
    if is_for_a_person {
        Kind::Misconfigured
    } else {
        Kind::Unavailable
    }
}

#[cfg(feature = "tls-rustls-ring-native-roots")]
fn is_tls(cause: &(dyn Error + 'static)) -> bool {
    cause.is::<rustls::Error>()
}

#[cfg(not(feature = "tls-rustls-ring-native-roots"))]
fn is_tls(_cause: &(dyn Error + 'static)) -> bool {
    false
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

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn with(retry_after: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry_after.parse().unwrap());
        headers
    }

    #[test]
    fn each_status_has_its_kind() {
        let groups: [(&[u16], Option<Kind>); 6] = [
            (&[200, 201, 202, 204, 207, 299], None),
            (
                &[
                    100, 101, 103, 199, 408, 425, 429, 500, 501, 502, 503, 504, 505, 507, 599, 600,
                    999,
                ],
                Some(Kind::Unavailable),
            ),
            (
                &[300, 301, 302, 303, 304, 307, 308, 399, 401, 403, 404, 410],
                Some(Kind::Misconfigured),
            ),
            (&[413, 415], Some(Kind::Permanent)),
            (
                &[
                    400, 402, 405, 406, 409, 411, 412, 414, 418, 422, 428, 431, 451, 499,
                ],
                Some(Kind::Rejected),
            ),
            (&[], None),
        ];
        for (statuses, expected) in groups {
            for status in statuses {
                let code = StatusCode::from_u16(*status).unwrap();
                let found = kind(code, &HeaderMap::new(), SystemTime::UNIX_EPOCH);
                assert_eq!(found, expected, "{status}");
            }
        }
    }

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_time() {
        let now = SystemTime::UNIX_EPOCH + seconds(784_111_777);
        for (text, pause) in [
            ("7", Some(seconds(7))),
            (" 120 ", Some(seconds(120))),
            ("0", Some(SHORTEST_PAUSE)),
            ("86401", Some(LONGEST_PAUSE)),
            ("99999999999999999999999999", Some(LONGEST_PAUSE)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(seconds(30))),
            ("Sunday, 06-Nov-94 08:50:07 GMT", Some(seconds(30))),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(SHORTEST_PAUSE)),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(LONGEST_PAUSE)),
            ("-1", None),
            ("1.5", None),
            ("+7", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(&with(text), now), pause, "{text:?}");
            for status in [408, 425, 429, 502, 503, 504] {
                let status = StatusCode::from_u16(status).unwrap();
                let expected = pause.map_or(Kind::Unavailable, Kind::Throttled);
                assert_eq!(kind(status, &with(text), now), Some(expected), "{text:?}");
            }
        }
        let error = kind(StatusCode::INTERNAL_SERVER_ERROR, &with("7"), now);
        assert_eq!(error, Some(Kind::Unavailable));
    }
}
