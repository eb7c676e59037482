//! The trace to which an event belongs, in its headers `traceparent` and `tracestate` (W3C Trace Context).

#[cfg(feature = "opentelemetry")]
mod remote;

#[cfg(feature = "opentelemetry")]
pub(crate) use remote::remote;

use crate::object::{Event, Headers};
use std::borrow::Cow;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The trace of the span in which events are appended.
///
/// Every append writes the headers of [`headers_of`](Self::headers_of), so the author of an append for
/// another data layer calls it too; `outbox-append-postgres` and `outbox-append-sqlite` do so for the
/// layers on top of them. Without the feature `opentelemetry` nothing is captured, and the headers are
/// those of the event.
///
/// ```
/// # use outbox_core::{Event, TraceContext};
/// let event = Event::new("order.placed", "7").header("region", "eu");
/// let context = TraceContext::current();
/// // No span is open here, so the headers are those of the event.
/// assert_eq!(*context.headers_of(&event), event.headers);
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TraceContext {
    traceparent: Option<String>,
    tracestate: Option<String>,
}

impl TraceContext {
    /// The longest `tracestate` that is captured, in bytes: what W3C Trace Context asks everybody to carry.
    /// It comes from the callers of the application, and brokers limit the headers of a message.
    pub const TRACESTATE_AT_MOST: usize = 512;

    /// The context of the current `tracing` span, if a layer of `tracing-opentelemetry` manages it, else of
    /// the current context of `opentelemetry`. It is empty without a span, and without the feature
    /// `opentelemetry`.
    ///
    /// One value serves all events of an append, which share the span.
    #[must_use]
    pub fn current() -> Self {
        #[cfg(feature = "opentelemetry")]
        return remote::current();
        #[cfg(not(feature = "opentelemetry"))]
        Self::default()
    }

    /// The headers with which `event` is appended: its own, and those of this context.
    ///
    /// They are only its own if the context is empty, if the event has a `traceparent`, in upper or lower
    /// case, or if they would exceed the limits of [`Event::validate`]: tracing never makes an append fail.
    #[must_use]
    pub fn headers_of<'e>(&self, event: &'e Event) -> Cow<'e, Headers> {
        let own = Cow::Borrowed(&event.headers);
        let Some(traceparent) = &self.traceparent else {
            return own;
        };
        let added = [
            Some((TRACEPARENT, traceparent)),
            self.tracestate.as_ref().map(|state| (TRACESTATE, state)),
        ];
        let added = added.into_iter().flatten();
        let size: usize = added
            .clone()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        let has_room = event.headers_size() + size <= Event::HEADERS_AT_MOST;
        if !has_room || header(&event.headers, TRACEPARENT).is_some() {
            return own;
        }
        let mut headers = own.into_owned();
        // A tracestate means nothing without its traceparent, and would be taken for one of ours.
        headers.retain(|name, _| !name.eq_ignore_ascii_case(TRACESTATE));
        headers.extend(added.map(|(name, value)| (name.to_owned(), value.clone())));
        Cow::Owned(headers)
    }
}

/// The value of a header, whose name may be in upper or lower case.
fn header<'h>(headers: &'h Headers, name: &str) -> Option<&'h str> {
    let mut same = headers
        .iter()
        .filter(|(other, _)| other.eq_ignore_ascii_case(name));
    same.next().map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn context(tracestate: Option<&str>) -> TraceContext {
        TraceContext {
            traceparent: Some(PARENT.to_owned()),
            tracestate: tracestate.map(str::to_owned),
        }
    }

    #[test]
    fn an_event_gets_the_trace_and_keeps_its_headers() {
        let event = Event::new("x", "").header("region", "eu");
        let headers = context(Some("a=b")).headers_of(&event).into_owned();
        let expected = [("region", "eu"), (TRACEPARENT, PARENT), (TRACESTATE, "a=b")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers, Headers::from(expected));
    }

    #[test]
    fn an_event_with_a_traceparent_keeps_it() {
        for name in [TRACEPARENT, "Traceparent"] {
            let event = Event::new("x", "").header(name, "its own");
            let headers = context(Some("a=b")).headers_of(&event);
            assert!(matches!(headers, Cow::Borrowed(_)), "{headers:?}");
        }
    }

    #[test]
    fn a_tracestate_without_its_traceparent_is_replaced() {
        let event = Event::new("x", "").header("TraceState", "of another trace");
        let headers = context(None).headers_of(&event).into_owned();
        assert_eq!(headers.len(), 1, "{headers:?}");
        assert_eq!(headers[TRACEPARENT], PARENT);
    }

    #[test]
    fn an_event_without_room_for_the_headers_is_appended_without_them() {
        let event = |bytes| Event::new("x", "").header("x", "x".repeat(bytes));
        let added = TRACEPARENT.len() + PARENT.len();
        let most = Event::HEADERS_AT_MOST - 1 - added;
        let full = event(most + 1);
        assert_eq!(context(None).headers_of(&full).len(), 1);
        full.validate().unwrap();
        let mut event = event(most);
        event.headers = context(None).headers_of(&event).into_owned();
        assert_eq!(event.headers.len(), 2);
        event.validate().unwrap();
    }

    #[test]
    fn an_empty_context_copies_nothing() {
        let event = Event::new("x", "").header("a", "b");
        let headers = TraceContext::default();
        assert!(matches!(headers.headers_of(&event), Cow::Borrowed(_)));
    }
}
