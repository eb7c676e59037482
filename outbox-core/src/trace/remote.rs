//! Between the headers of an event and the types of OpenTelemetry.

use super::{TRACEPARENT, TRACESTATE, TraceContext, header};
use crate::object::Headers;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const LENGTH: usize = 55;

/// A value of a later version may be longer. No version has so many bytes.
const LONGEST: usize = 512;

pub(super) fn current() -> TraceContext {
    let of_span = Span::current().context();
    // The layer may leave a span out, such as one of level DEBUG. Then the one around it counts.
    let context = if of_span.span().span_context().is_valid() {
        of_span
    } else {
        Context::current()
    };
    let span = context.span();
    let context = span.span_context();
    if !context.is_valid() {
        return TraceContext::default();
    }
    let (trace, span, flags) = (
        context.trace_id(),
        context.span_id(),
        context.trace_flags() & TraceFlags::SAMPLED,
    );
    let state = context.trace_state().header();
    TraceContext {
        traceparent: Some(format!("00-{trace}-{span}-{flags:02x}")),
        tracestate: Some(state).filter(|state| is_state(state)),
    }
}

/// The span that an event was appended in. `None` without a header `traceparent`, and if it is not one of
/// W3C Trace Context: programs in other languages write these headers too.
pub(crate) fn remote(headers: &Headers) -> Option<SpanContext> {
    let (trace, span, flags) = parse(header(headers, TRACEPARENT)?)?;
    let state = header(headers, TRACESTATE)
        .filter(|state| is_state(state))
        .and_then(|state| state.parse::<TraceState>().ok())
        .unwrap_or_default();
    Some(SpanContext::new(trace, span, flags, true, state))
}

fn parse(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let text = text.trim_matches([' ', '\t']);
    let bytes = text.as_bytes();
    // A byte of a longer character is in no part of a valid value, so each cut is at a character.
    let is_plain = text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.len() < LENGTH || !is_plain {
        return None;
    }
    let ends = match &text[..2] {
        "00" => text.len() == LENGTH,
        _ => text.len() == LENGTH || bytes[LENGTH] == b'-',
    };
    let dashes = [2, 35, 52].iter().all(|at| bytes[*at] == b'-');
    let parts = [&text[..2], &text[3..35], &text[36..52], &text[53..LENGTH]];
    let is_hex = |part: &&str| {
        part.bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    if !ends || !dashes || !parts.iter().all(is_hex) || parts[0] == "ff" {
        return None;
    }
    let trace = TraceId::from_hex(parts[1]).ok()?;
    let span = SpanId::from_hex(parts[2]).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(parts[3], 16).ok()?) & TraceFlags::SAMPLED;
    (trace != TraceId::INVALID && span != SpanId::INVALID).then_some((trace, span, flags))
}

/// Whether a `tracestate` is carried: it has printable characters only, and is not too long.
fn is_state(state: &str) -> bool {
    let is_printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t';
    (1..=TraceContext::TRACESTATE_AT_MOST).contains(&state.len()) && state.bytes().all(is_printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn of(traceparent: &str, tracestate: &str) -> Option<SpanContext> {
        let headers = [(TRACEPARENT, traceparent), (TRACESTATE, tracestate)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        remote(&Headers::from(headers))
    }

    #[test]
    fn a_traceparent_of_each_version_is_read() {
        for (text, is_sampled) in [
            (format!("00-{TRACE}-{SPAN}-01"), true),
            (format!("00-{TRACE}-{SPAN}-00"), false),
            (format!("00-{TRACE}-{SPAN}-03"), true),
            (format!("00-{TRACE}-{SPAN}-fe"), false),
            (format!(" 00-{TRACE}-{SPAN}-01\t"), true),
            (format!("01-{TRACE}-{SPAN}-01"), true),
            (format!("cc-{TRACE}-{SPAN}-01-what-comes-later"), true),
        ] {
            let context = of(&text, "a=b,c=d").unwrap();
            assert_eq!(context.trace_id().to_string(), TRACE, "{text}");
            assert_eq!(context.span_id().to_string(), SPAN, "{text}");
            assert_eq!(context.is_sampled(), is_sampled, "{text}");
            assert!(context.is_remote());
            assert_eq!(context.trace_state().header(), "a=b,c=d");
        }
    }

    #[test]
    fn a_malformed_traceparent_is_ignored() {
        let upper = TRACE.to_uppercase();
        let (zeros, short) = ("0".repeat(32), &TRACE[1..]);
        for text in [
            String::new(),
            " ".to_owned(),
            "00".to_owned(),
            "---".to_owned(),
            "-".repeat(LENGTH),
            "0".repeat(LENGTH),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("01-{TRACE}-{SPAN}-01more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("+0-{TRACE}-{SPAN}-01"),
            format!("00-{upper}-{SPAN}-01"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{short}-{SPAN}-001"),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("00-{TRACE}-{SPAN}-01\n"),
            format!("00-{TRACE}-{SPAN}-01\0"),
            format!("é0-{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{}é-{SPAN}-01", &TRACE[2..]),
            format!("01-{TRACE}-{SPAN}-01-{}", "x".repeat(LONGEST)),
            "00-".repeat(1_000_000),
            "🦀".repeat(20),
        ] {
            let shown: String = text.chars().take(80).collect();
            assert_eq!(of(&text, ""), None, "{shown:?}");
        }
        assert_eq!(remote(&Headers::new()), None);
    }

    #[test]
    fn a_tracestate_that_cannot_be_carried_costs_only_itself() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let long = format!("a={}", "x".repeat(TraceContext::TRACESTATE_AT_MOST));
        for state in ["no pair", "a=b\r\nforged: 1", "a=\0", "é=1", &long] {
            let context = of(&parent, state).unwrap();
            assert_eq!(context.trace_state().header(), "", "{state:?}");
        }
    }
}
