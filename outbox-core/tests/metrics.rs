//! What `MetricsObserver` counts.
#![cfg(all(feature = "metrics", feature = "dlq"))]
#![allow(clippy::unwrap_used, reason = "a test stops at the first error")]

use async_trait::async_trait;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, ClaimedEvent, DlqEntry, Event, MetricsObserver,
    OutboxError, OutboxStorage, PublishError, PublishErrorKind, QuarantineOutcome, Relay,
    Settlement, Transport,
};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};
use tokio::time::sleep;

/// Claims that are scripted, and a backlog.
#[derive(Debug, Default)]
struct Store(Mutex<VecDeque<Vec<ClaimedEvent>>>);

impl Store {
    fn of(claims: impl IntoIterator<Item = Vec<Event>>) -> Self {
        let claimed = |event| ClaimedEvent::new(event, 0, false);
        let claim = |events: Vec<Event>| events.into_iter().map(claimed).collect();
        Self(Mutex::new(claims.into_iter().map(claim).collect()))
    }
}

#[async_trait]
impl OutboxStorage for Store {
    async fn claim(&self, _: ClaimLimit, _: Duration) -> Result<Claim, OutboxError> {
        let next = self.0.lock().unwrap().pop_front();
        Ok(Claim::new(ClaimToken::new(), next.unwrap_or_default()))
    }

    async fn settle(&self, _: ClaimToken, _: &[Settlement]) -> Result<(), OutboxError> {
        Ok(())
    }

    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        Ok(vec![QuarantineOutcome::Moved; entries.len()])
    }

    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError> {
        sleep(at_most).await;
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        let mut backlog = Backlog::default();
        (backlog.pending, backlog.waiting, backlog.in_flight) = (7, 3, 2);
        backlog.dead_letters = 5;
        backlog.oldest_due = Some(Duration::from_secs(300));
        backlog.oldest_dead_letter = Some(Duration::from_secs(86_400));
        backlog.oldest_pending = Some(SystemTime::now() - Duration::from_secs(600));
        Ok(backlog)
    }
}

/// Sends each event to the destination that its type names. Those that start with `no` fail.
#[derive(Debug)]
struct Topics(PublishErrorKind);

#[async_trait]
impl Transport for Topics {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let answer = |event: &Event| {
            if event.event_type.starts_with("no") {
                return Err(PublishError::new(self.0).with_destination(event.event_type.as_str()));
            }
            Ok(())
        };
        events.iter().map(answer).collect()
    }

    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        Some(Cow::Borrowed(&event.event_type))
    }
}

/// The metrics by their names and labels, without `store`, which each has.
struct Metrics(BTreeMap<String, DebugValue>);

impl Metrics {
    fn of(snapshotter: &Snapshotter) -> Self {
        let metrics = snapshotter.snapshot().into_vec().into_iter();
        let named = metrics.map(|(key, _, _, value)| {
            let key = key.key();
            let labels = key.labels().map(|label| (label.key(), label.value()));
            let (store, others): (Vec<_>, Vec<_>) = labels.partition(|(name, _)| *name == "store");
            assert_eq!(store, [("store", "orders")], "{key}");
            let others: Vec<_> = others
                .iter()
                .map(|(name, is)| format!("{name}={is}"))
                .collect();
            (format!("{}{{{}}}", key.name(), others.join(",")), value)
        });
        Self(named.collect())
    }

    fn counter(&self, name: &str) -> u64 {
        match self.0[name] {
            DebugValue::Counter(count) => count,
            ref other => panic!("{name} is {other:?}"),
        }
    }

    fn gauge(&self, name: &str) -> f64 {
        match self.0[name] {
            DebugValue::Gauge(value) => value.0,
            ref other => panic!("{name} is {other:?}"),
        }
    }

    fn samples(&self, name: &str) -> usize {
        match &self.0[name] {
            DebugValue::Histogram(samples) => samples.len(),
            other => panic!("{name} is {other:?}"),
        }
    }

    fn begin_with(&self, text: &str) -> usize {
        self.0.keys().filter(|name| name.starts_with(text)).count()
    }
}

/// The metrics of a relay at the end of its first minute, before its observer is dropped.
async fn metrics(store: Store, broker: Topics) -> Metrics {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _recorder = metrics::set_default_local_recorder(&recorder);
    let relay = Relay::new(store, broker).observer(MetricsObserver::new("orders"));
    let mut seen = None;
    let minute = async {
        sleep(Duration::from_secs(60)).await;
        seen = Some(Metrics::of(&snapshotter));
    };
    relay.run(minute).await.unwrap();
    seen.unwrap()
}

fn to(destination: impl Into<String>) -> Event {
    Event::new(destination, "{}")
}

#[tokio::test(start_paused = true)]
async fn published_and_failed_events_are_counted_by_destination_and_kind() {
    let store = Store::of([vec![to("a"), to("a"), to("b"), to("no-1")]]);
    let metrics = metrics(store, Topics(PublishErrorKind::Permanent)).await;
    assert_eq!(metrics.counter("outbox_published_total{destination=a}"), 2);
    assert_eq!(metrics.counter("outbox_published_total{destination=b}"), 1);
    assert_eq!(metrics.samples("outbox_publish_seconds{destination=a}"), 1);
    assert_eq!(metrics.samples("outbox_delay_seconds{destination=a}"), 2);
    let failed = "outbox_failed_total{destination=no-1,kind=permanent}";
    assert_eq!(metrics.counter(failed), 1);
    let quarantined = "outbox_quarantined_total{kind=permanent}";
    assert_eq!(metrics.counter(quarantined), 1);
}

#[tokio::test(start_paused = true)]
async fn the_gauges_have_the_numbers_of_the_sample() {
    let metrics = metrics(Store::default(), Topics(PublishErrorKind::Rejected)).await;
    for (name, value) in [
        ("outbox_pending{}", 7.0),
        ("outbox_waiting_keys{}", 3.0),
        ("outbox_in_flight{}", 2.0),
        ("outbox_dead_letters{}", 5.0),
        ("outbox_oldest_due_age_seconds{}", 300.0),
        ("outbox_oldest_dead_letter_age_seconds{}", 86_400.0),
        ("outbox_store_up{}", 1.0),
    ] {
        assert!((metrics.gauge(name) - value).abs() < f64::EPSILON, "{name}");
    }
    let age = metrics.gauge("outbox_oldest_pending_age_seconds{}");
    assert!((600.0..1200.0).contains(&age), "{age}");
    assert!(metrics.gauge("outbox_last_pass_timestamp_seconds{}") > 1.6e9);
    assert!(metrics.gauge("outbox_last_sample_timestamp_seconds{}") > 1.6e9);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_destinations_have_a_hundred_labels_and_other() {
    let events = (0..200).map(|number| to(format!("topic-{number}")));
    let store = Store::of([events.collect()]);
    let metrics = metrics(store, Topics(PublishErrorKind::Rejected)).await;
    assert_eq!(metrics.begin_with("outbox_published_total"), 101);
    assert_eq!(metrics.begin_with("outbox_delay_seconds"), 101);
    let other = "outbox_published_total{destination=other}";
    assert_eq!(metrics.counter(other), 100);
}

#[tokio::test(start_paused = true)]
async fn open_breakers_of_other_destinations_are_counted_together() {
    let events = (0..150).map(|number| to(format!("no-{number}")));
    let store = Store::of([events.collect()]);
    let metrics = metrics(store, Topics(PublishErrorKind::Misconfigured)).await;
    let open = "outbox_breaker_open{destination=other,kind=misconfigured}";
    assert!((metrics.gauge(open) - 50.0).abs() < f64::EPSILON);
    assert_eq!(metrics.begin_with("outbox_breaker_open"), 101);
    let failed = "outbox_failed_total{destination=other,kind=misconfigured}";
    assert_eq!(metrics.counter(failed), 50);
}

#[tokio::test(start_paused = true)]
async fn the_gauges_of_a_relay_that_has_ended_are_no_numbers() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _recorder = metrics::set_default_local_recorder(&recorder);
    let store = Store::of([vec![to("no")]]);
    let relay = Relay::new(store, Topics(PublishErrorKind::Unavailable))
        .observer(MetricsObserver::new("orders"));
    relay.run(sleep(Duration::from_secs(60))).await.unwrap();
    let metrics = Metrics::of(&snapshotter);
    assert!(metrics.gauge("outbox_store_up{}").is_nan());
    assert!(
        metrics
            .gauge("outbox_last_pass_timestamp_seconds{}")
            .is_nan()
    );
    let open = "outbox_breaker_open{destination=no,kind=unavailable}";
    assert!(metrics.gauge(open).abs() < f64::EPSILON);
}

/// The metrics that a text names, each once. The buckets of a histogram are a series of their own.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    let words = text.split(|letter| !is_part(letter));
    let names = words.filter(|word| word.starts_with("outbox_") && !word.ends_with('_'));
    let whole = |name: &str| name.strip_suffix("_bucket").unwrap_or(name).to_owned();
    names.map(whole).collect()
}

/// The metrics of the observer: the texts of its source that name one.
fn exported() -> BTreeSet<String> {
    let texts = include_str!("../src/metrics/mod.rs").split('"');
    let exported: BTreeSet<String> = texts
        .filter(|text| text.starts_with("outbox_"))
        .flat_map(named)
        .collect();
    assert!(exported.contains("outbox_published_total"));
    exported
}

#[test]
fn each_metric_has_a_help_text() {
    assert_eq!(named(include_str!("../src/metrics/help.rs")), exported());
}

#[test]
fn the_dashboard_shows_each_metric_and_no_other() {
    let dashboard = include_str!("../../packages/grafana/outbox.json");
    assert_eq!(named(dashboard), exported());
}

#[test]
fn the_alerts_ask_for_metrics_that_are_exported() {
    let rules = include_str!("../../packages/prometheus/outbox.rules.yml");
    let asked = named(rules);
    assert!(asked.len() > 5, "{asked:?}");
    assert_eq!(asked.difference(&exported()).next(), None);
}

#[test]
fn the_operations_page_explains_each_metric_and_each_alert() {
    let page = include_str!("../../docs/operations.md");
    let rows = page.lines().filter(|line| line.starts_with("| `outbox_"));
    let explained: BTreeSet<String> = rows.flat_map(named).collect();
    assert_eq!(explained, exported());
    let rules = include_str!("../../packages/prometheus/outbox.rules.yml");
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let (mut alerts, mut explained) = (alerts.collect::<Vec<_>>(), Vec::new());
    explained.extend(
        page.lines()
            .filter_map(|line| line.strip_prefix("### Outbox")),
    );
    alerts.sort_unstable();
    explained.sort_unstable();
    let explained: Vec<String> = explained
        .iter()
        .map(|name| format!("Outbox{name}"))
        .collect();
    assert_eq!(explained, alerts);
    for alert in alerts {
        let link = format!("docs/operations.md#{}", alert.to_lowercase());
        assert!(rules.contains(&link), "{link}");
    }
}
