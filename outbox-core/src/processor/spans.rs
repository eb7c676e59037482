//! The spans of a worker.
//!
//! Names and attributes are those of the OpenTelemetry semantic conventions for messaging, version 1.42. The
//! span in which an event was appended is its creation context: a call of the transport has many events, so
//! its span is linked to theirs. An attempt of an event whose trace is sampled also has a span in that trace.
//!
//! Each span of a worker starts a separate trace, or is in that of its pass: a span around
//! [`run`](crate::OutboxProcessor::run) would never end.

use super::PassReport;
use super::call::Verdict;
use super::destinations::Target;
use super::publish::Slot;
use crate::object::Event;
use crate::transport::PublishErrorKind;
use tokio::time::Duration;
use tracing::field::Empty;
use tracing::{Span, debug_span, info_span};

#[cfg(feature = "opentelemetry")]
use {
    crate::object::EventId,
    opentelemetry::Context,
    opentelemetry::trace::{SpanContext, TraceContextExt, TraceState},
    std::collections::{HashMap, HashSet},
    tracing_opentelemetry::OpenTelemetrySpanExt,
};

/// The most links of a span: the limit of OpenTelemetry, so more would be dropped.
#[cfg(feature = "opentelemetry")]
const LINKS: usize = 128;

/// A claim, also one that finds nothing. An idle worker makes one at each poll, so its level is DEBUG.
pub(super) fn claim() -> Span {
    debug_span!(parent: None, "claim", "otel.kind" = "client", events = Empty)
}

/// From the events of a claim to their settlement.
pub(super) fn pass(events: usize, claim: Duration) -> Span {
    info_span!(
        parent: None,
        "pass",
        claimed = number(events),
        claim_seconds = claim.as_secs_f64(),
        published = Empty,
        retried = Empty,
        dead = Empty,
        released = Empty,
    )
}

pub(super) fn end_pass(span: &Span, report: &PassReport) {
    if span.is_disabled() {
        return;
    }
    span.record("published", number(report.published));
    span.record("retried", number(report.retried));
    span.record("dead", number(report.dead));
    span.record("released", number(report.released));
}

pub(super) fn settle(events: usize) -> Span {
    info_span!("settle", "otel.kind" = "client", events = number(events))
}

/// The part of a tick that has entries. An idle `DlqProcessor` makes no span.
#[cfg(feature = "dlq")]
pub(crate) fn tick(entries: usize) -> Span {
    info_span!(
        parent: None,
        "tick",
        entries = number(entries),
        moved = Empty,
        missing = Empty,
        busy = Empty,
    )
}

/// Attributes of OpenTelemetry have no unsigned numbers.
pub(crate) fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The traces of the events of some calls.
#[derive(Debug, Default)]
pub(super) struct Traces {
    #[cfg(feature = "opentelemetry")]
    events: HashMap<EventId, Trace>,
}

#[cfg(feature = "opentelemetry")]
#[derive(Debug)]
struct Trace {
    context: SpanContext,
    /// The number of the attempt.
    attempt: i64,
}

/// The spans of a call of the transport.
#[derive(Debug)]
pub(super) struct CallSpans {
    call: Span,
    /// Of the events whose trace is sampled, by their place in the call.
    attempts: Vec<(usize, Span)>,
}

impl Traces {
    /// The traces of `events`, whose `slots` are in the same order.
    #[cfg(feature = "opentelemetry")]
    pub(super) fn of<'s>(events: &[Event], slots: impl Iterator<Item = &'s Slot>) -> Self {
        if !tracing::enabled!(tracing::Level::INFO) {
            return Self::default();
        }
        let events = events.iter().zip(slots).filter_map(|(event, slot)| {
            let context = crate::trace::remote(&event.headers)?;
            let attempt = i64::from(slot.attempts) + 1;
            Some((event.id, Trace { context, attempt }))
        });
        Self {
            events: events.collect(),
        }
    }

    #[cfg(not(feature = "opentelemetry"))]
    pub(super) fn of<'s>(_events: &[Event], _slots: impl Iterator<Item = &'s Slot>) -> Self {
        Self::default()
    }

    /// The spans of a call that starts now.
    pub(super) fn call(&self, part: &[Event], target: &Target) -> CallSpans {
        let destination = target.name().map(|name| &**name);
        let call = info_span!(
            "publish",
            "otel.name" = name(destination),
            "otel.kind" = "client",
            "otel.status_code" = Empty,
            "otel.status_description" = Empty,
            "messaging.system" = "outbox",
            "messaging.operation.name" = "publish",
            "messaging.operation.type" = "send",
            "messaging.destination.name" = destination,
            "messaging.batch.message_count" = number(part.len()),
            "error.type" = Empty,
        );
        let attempts = self.attempts(part, destination, &call);
        CallSpans { call, attempts }
    }

    /// Links the call to the spans of its events, and starts an attempt in each trace that is sampled.
    #[cfg(feature = "opentelemetry")]
    fn attempts(
        &self,
        part: &[Event],
        destination: Option<&str>,
        call: &Span,
    ) -> Vec<(usize, Span)> {
        let mut attempts = Vec::new();
        if self.events.is_empty() || call.is_disabled() {
            return attempts;
        }
        let traced = part.iter().enumerate();
        let traced =
            traced.filter_map(|(at, event)| Some((at, event, self.events.get(&event.id)?)));
        let mut linked = HashSet::new();
        for (at, event, trace) in traced {
            if linked.len() < LINKS && linked.insert(trace.context.span_id()) {
                call.add_link(without_state(&trace.context));
            }
            if !trace.context.is_sampled() {
                continue;
            }
            let attempt = attempt(event, destination, trace.attempt);
            let parent = Context::new().with_remote_span_context(trace.context.clone());
            if attempt.set_parent(parent).is_err() {
                // No layer of OpenTelemetry is installed.
                return Vec::new();
            }
            attempts.push((at, attempt));
        }
        attempts
    }

    #[cfg(not(feature = "opentelemetry"))]
    #[expect(clippy::unused_self, reason = "the traces need it")]
    fn attempts(&self, _: &[Event], _: Option<&str>, _: &Span) -> Vec<(usize, Span)> {
        Vec::new()
    }
}

/// A link without the state of the vendors, so that 128 links stay small.
#[cfg(feature = "opentelemetry")]
fn without_state(context: &SpanContext) -> SpanContext {
    let (trace, span) = (context.trace_id(), context.span_id());
    let state = TraceState::default();
    SpanContext::new(trace, span, context.trace_flags(), true, state)
}

/// An attempt to publish an event, in the trace of the event. The call that has the event is a span of kind
/// CLIENT already, and its duration must not be counted twice.
#[cfg(feature = "opentelemetry")]
fn attempt(event: &Event, destination: Option<&str>, number: i64) -> Span {
    info_span!(
        target: "outbox_core::attempt",
        parent: None,
        "attempt",
        "otel.name" = name(destination),
        "otel.kind" = "internal",
        "otel.status_code" = Empty,
        "otel.status_description" = Empty,
        "messaging.system" = "outbox",
        "messaging.operation.name" = "publish",
        "messaging.operation.type" = "send",
        "messaging.destination.name" = destination,
        "messaging.message.id" = %event.id,
        "outbox.event.type" = event.event_type,
        "outbox.attempt" = number,
        "outbox.outcome" = Empty,
        "error.type" = Empty,
    )
}

fn name(destination: Option<&str>) -> String {
    destination.map_or_else(|| "publish".to_owned(), |name| format!("publish {name}"))
}

impl CallSpans {
    pub(super) fn call(&self) -> Span {
        self.call.clone()
    }

    /// Ends the call with the verdicts of its events. Without verdicts it is repeated in parts.
    pub(super) fn end(self, verdicts: &[Verdict]) {
        if self.call.is_disabled() {
            return;
        }
        let mut errors = verdicts.iter().filter_map(error);
        if let Some((kind, text)) = errors.next() {
            fail(&self.call, kind, text);
        }
        for (at, span) in self.attempts {
            let Some(verdict) = verdicts.get(at) else {
                continue;
            };
            let error = error(verdict);
            let done = matches!(verdict, Verdict::Published);
            let outcome = error.map_or(if done { "published" } else { "released" }, |(kind, _)| {
                kind
            });
            span.record("outbox.outcome", outcome);
            if let Some((kind, text)) = error {
                fail(&span, kind, text);
            }
        }
    }
}

fn fail(span: &Span, kind: &str, text: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", text);
    span.record("error.type", kind);
}

/// The kind and the text of a verdict's error.
fn error(verdict: &Verdict) -> Option<(&'static str, &str)> {
    Some(match verdict {
        Verdict::Rejected(error) | Verdict::Lost(error) => ("rejected", error.as_str()),
        Verdict::Permanent { reason, .. } => ("permanent", reason.as_str()),
        Verdict::Throttled { error, .. } => ("throttled", error.as_str()),
        Verdict::Unavailable { kind, error, .. } => match kind {
            PublishErrorKind::Misconfigured => ("misconfigured", error.as_str()),
            _ => ("unavailable", error.as_str()),
        },
        Verdict::Published | Verdict::Paused(_) | Verdict::Untried => return None,
    })
}
