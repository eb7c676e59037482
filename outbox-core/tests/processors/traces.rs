//! What an exporter of OpenTelemetry gets of appends and of a worker.

use crate::fakes::{FakeBroker, FakeHeap, FakeStore, HOUR};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceId, TracerProvider,
};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use outbox_core::{
    ClaimedEvent, DlqProcessor, Event, OutboxConfig, OutboxProcessor, PublishErrorKind,
    TraceContext,
};
use std::sync::{Arc, Mutex, OnceLock};
use tokio::time::sleep;
use tracing::instrument::WithSubscriber;
use tracing::{Dispatch, debug_span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// Keeps the spans that have ended.
#[derive(Clone, Debug, Default)]
struct Collector(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Collector {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        self.0
            .lock()
            .expect("no panic while locked")
            .append(&mut batch);
        Ok(())
    }
}

impl Collector {
    /// A subscriber whose spans of INFO and above are exported to here.
    fn subscriber(&self, sampler: Sampler) -> Dispatch {
        // With a single subscriber, `tracing` caches per callsite whether the first thread listens. A
        // second one makes it ask the subscriber of each thread.
        static SECOND: OnceLock<Dispatch> = OnceLock::new();
        SECOND.get_or_init(|| Dispatch::new(tracing_subscriber::registry()));
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(self.clone())
            .with_sampler(sampler)
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let plain = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
        let registry = tracing_subscriber::registry().with(plain);
        Dispatch::new(registry.with(layer.with_filter(LevelFilter::INFO)))
    }

    fn spans(&self) -> Vec<SpanData> {
        self.0.lock().expect("no panic while locked").clone()
    }

    fn named(&self, name: &str) -> Vec<SpanData> {
        let mut spans = self.spans();
        spans.retain(|span| span.name == name);
        spans
    }
}

fn text(span: &SpanData, key: &str) -> String {
    let mut found = span.attributes.iter().filter(|one| one.key.as_str() == key);
    found
        .next()
        .map_or_else(String::new, |one| one.value.to_string())
}

/// The spans of a worker that runs for an hour of the paused clock.
async fn run(store: FakeStore, broker: FakeBroker, sampler: Sampler) -> Collector {
    let collector = Collector::default();
    let worker = OutboxProcessor::new(store, broker);
    let run = worker
        .run(sleep(HOUR))
        .with_subscriber(collector.subscriber(sampler));
    run.await.expect("no fatal error");
    collector
}

fn traced(span: u64, flags: &str) -> Event {
    let traceparent = format!("00-{TRACE}-{span:016x}-{flags}");
    Event::new("order.placed", "{}").header("traceparent", traceparent)
}

#[test]
fn events_are_appended_with_the_trace_of_their_span() {
    let collector = Collector::default();
    tracing::dispatcher::with_default(&collector.subscriber(Sampler::AlwaysOn), || {
        let remote = SpanContext::new(
            TraceId::from_hex(TRACE).unwrap(),
            SpanId::from_hex(SPAN).unwrap(),
            opentelemetry::TraceFlags::SAMPLED,
            true,
            "vendor=1".parse().unwrap(),
        );
        let request = info_span!("request");
        let parent = opentelemetry::Context::new().with_remote_span_context(remote);
        request.set_parent(parent).unwrap();
        let own = request.context().span().span_context().span_id();
        let expected = format!("00-{TRACE}-{own}-01");
        let _entered = request.enter();
        let headers = || {
            TraceContext::current()
                .headers_of(&Event::new("x", ""))
                .into_owned()
        };
        assert_eq!(headers()["traceparent"], expected);
        assert_eq!(headers()["tracestate"], "vendor=1");
        // The layer leaves this span out, so the one around it counts.
        let _inner = debug_span!("statement").entered();
        assert_eq!(headers()["traceparent"], expected);
    });
    assert_eq!(TraceContext::current(), TraceContext::default());
}

#[test]
fn a_span_that_is_not_sampled_is_captured_as_such() {
    let dispatch = Collector::default().subscriber(Sampler::AlwaysOff);
    tracing::dispatcher::with_default(&dispatch, || {
        let _entered = info_span!("request").entered();
        let event = Event::new("x", "");
        let headers = TraceContext::current().headers_of(&event).into_owned();
        assert!(headers["traceparent"].ends_with("-00"), "{headers:?}");
        assert_eq!(headers.len(), 1, "{headers:?}");
    });
}

#[tokio::test(start_paused = true)]
async fn a_call_is_linked_to_the_spans_of_its_events_and_each_attempt_is_in_its_trace() {
    let events = vec![
        ClaimedEvent::new(traced(1, "01"), 2, false),
        ClaimedEvent::new(traced(2, "00"), 0, false),
        ClaimedEvent::new(Event::new("order.placed", "{}"), 0, false),
    ];
    let store = FakeStore::answers([Ok(events)]);
    let collector = run(store, FakeBroker::default(), Sampler::AlwaysOn).await;
    let (pass, calls) = (collector.named("pass"), collector.named("publish"));
    let [attempt, call] = &calls[..] else {
        panic!("{calls:#?}");
    };
    assert_eq!(call.parent_span_id, pass[0].span_context.span_id());
    assert_eq!(call.span_kind, SpanKind::Client);
    assert_eq!(text(call, "messaging.batch.message_count"), "3");
    let linked: Vec<String> = call
        .links
        .iter()
        .map(|link| link.span_context.span_id().to_string())
        .collect();
    assert_eq!(linked, ["0000000000000001", "0000000000000002"]);
    assert_eq!(attempt.span_context.trace_id().to_string(), TRACE);
    assert_eq!(attempt.parent_span_id.to_string(), "0000000000000001");
    assert_eq!(attempt.span_kind, SpanKind::Internal);
    assert_eq!(text(attempt, "outbox.attempt"), "3");
    assert_eq!(text(attempt, "outbox.outcome"), "published");
    assert_eq!(attempt.status, Status::Unset);
    let settle = &collector.named("settle")[0];
    assert_eq!(settle.parent_span_id, pass[0].span_context.span_id());
    assert_eq!(text(&pass[0], "claimed"), "3");
    assert_eq!(text(&pass[0], "published"), "3");
}

#[tokio::test(start_paused = true)]
async fn each_outcome_of_an_attempt_is_named() {
    for (kind, name) in [
        (PublishErrorKind::Rejected, "rejected"),
        (PublishErrorKind::Permanent, "permanent"),
        (PublishErrorKind::Unavailable, "unavailable"),
        (PublishErrorKind::Misconfigured, "misconfigured"),
        (PublishErrorKind::Throttled(HOUR), "throttled"),
    ] {
        let store = FakeStore::one_by_one([traced(1, "01")]);
        let collector = run(store, FakeBroker::answers([Some(kind)]), Sampler::AlwaysOn).await;
        for span in collector.named("publish") {
            assert_eq!(text(&span, "error.type"), name);
            let Status::Error { description } = &span.status else {
                panic!("{span:#?}");
            };
            assert!(description.contains("no such topic"), "{description}");
        }
        let attempts = collector.named("publish");
        let attempt = attempts
            .iter()
            .find(|span| !text(span, "outbox.attempt").is_empty());
        assert_eq!(text(attempt.unwrap(), "outbox.outcome"), name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_with_many_events_has_a_bounded_number_of_links() {
    let events = (1..=500).map(|span| ClaimedEvent::new(traced(span, "00"), 0, false));
    let store = FakeStore::answers([Ok(events.collect())]);
    let collector = run(store, FakeBroker::default(), Sampler::AlwaysOn).await;
    let calls = collector.named("publish");
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].links.len(), 128);
    assert_eq!(calls[0].links.dropped_count, 0);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_follows_the_sampling_of_its_trace_and_not_that_of_the_worker() {
    let store = FakeStore::one_by_one([traced(1, "01"), traced(2, "00")]);
    let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOff));
    let collector = run(store, FakeBroker::default(), sampler).await;
    let spans = collector.spans();
    assert_eq!(spans.len(), 1, "{spans:#?}");
    assert_eq!(spans[0].parent_span_id.to_string(), "0000000000000001");
}

#[tokio::test(start_paused = true)]
async fn a_hostile_traceparent_costs_only_its_link() {
    let hostile = ["", "00-x", "00-é", &"0-".repeat(100_000), "ff\0\r\n"];
    let events = hostile.map(|value| Event::new("x", "").header("traceparent", value));
    let store = FakeStore::one_by_one(events);
    let collector = run(store, FakeBroker::default(), Sampler::AlwaysOn).await;
    let calls = collector.named("publish");
    assert_eq!(calls.len(), hostile.len());
    assert!(calls.iter().all(|call| call.links.is_empty()));
    let passes = collector.named("pass");
    assert!(passes.iter().all(|pass| text(pass, "published") == "1"));
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_exports_nothing() {
    let collector = run(
        FakeStore::default(),
        FakeBroker::default(),
        Sampler::AlwaysOn,
    )
    .await;
    assert_eq!(collector.spans(), []);
}

#[tokio::test(start_paused = true)]
async fn a_tick_is_a_span_if_it_has_entries() {
    let collector = Collector::default();
    let config = OutboxConfig::default();
    let processor = DlqProcessor::new(FakeHeap::draining(2, 1), FakeStore::default());
    let run = processor.config(config).run(sleep(HOUR));
    run.with_subscriber(collector.subscriber(Sampler::AlwaysOn))
        .await;
    let spans = collector.spans();
    assert_eq!(spans.len(), 1, "{spans:#?}");
    assert_eq!(spans[0].name, "tick");
    assert_eq!(text(&spans[0], "moved"), "2");
}
