//! What an operator reads in the log.

use crate::fakes::{FakeBroker, FakeHeap, FakeStore, HOUR, MS, event};
use crate::log::{logged, only};
use outbox_core::{
    ClaimedEvent, DlqProcessor, ErrorKind, OutboxConfig, OutboxProcessor, PublishErrorKind, Relay,
};
use tokio::time::sleep;

/// Runs a worker for an hour of the paused clock, and returns what it logs.
async fn run(store: FakeStore, broker: FakeBroker) -> Vec<String> {
    let worker = OutboxProcessor::new(store, broker);
    let (result, lines) = logged(worker.run(sleep(HOUR))).await;
    result.expect("no fatal error");
    lines
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_one_warning_with_the_command_that_shows_it() {
    let (event, broker) = (
        event(),
        FakeBroker::answers([Some(PublishErrorKind::Permanent)]),
    );
    let lines = run(FakeStore::one_by_one([event.clone()]), broker).await;
    let id = event.id;
    assert_eq!(
        only(&lines, "WARN"),
        format!(
            "WARN event quarantined event={id} event_type=order.placed \
             reason=can never be published: no such topic failures=1 show=outbox dlq show {id}"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_at_the_threshold_is_one_warning_with_the_command_that_shows_it() {
    let mut heap = FakeHeap::draining(1, 1);
    let id = heap.leases.get_mut().expect("no panic while locked")[0][0].id;
    let mut processor = DlqProcessor::new(heap, FakeStore::default());
    let (report, lines) = logged(processor.tick()).await;
    assert_eq!(report.expect("a tick").moved, 1);
    let expected = format!(
        "WARN event quarantined event={id} reason=full failures=3 show=outbox dlq show {id}"
    );
    assert_eq!(lines, [expected]);
}

#[tokio::test(start_paused = true)]
async fn start_and_end_are_logged_with_the_options() {
    let lines = run(FakeStore::one_by_one([event()]), FakeBroker::default()).await;
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let start = "INFO worker started config=OutboxConfig { batch_size: 100, batch_bytes: 16777216,";
    assert!(lines[0].starts_with(start), "{}", lines[0]);
    assert_eq!(lines[1], "INFO worker stopped published=1");
}

#[tokio::test(start_paused = true)]
async fn an_error_that_ends_a_relay_is_logged() {
    let store = FakeStore::answers([Err(ErrorKind::Corrupt)]);
    let relay = Relay::new(store, FakeBroker::default()).dlq_heap(FakeHeap::default());
    let (result, lines) = logged(relay.run(sleep(HOUR))).await;
    let error = result.unwrap_err();
    assert_eq!(
        only(&lines, "ERROR"),
        format!("ERROR worker stopped by an error that a retry cannot fix error={error}")
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_is_one_line_each_way() {
    let away = (0..5).map(|_| Err(ErrorKind::Unavailable));
    let lines = run(FakeStore::answers(away), FakeBroker::default()).await;
    let line = "WARN store failed: unsettled events will be delivered again error=store: claim:";
    assert!(only(&lines, "store failed").starts_with(line), "{lines:#?}");
    assert!(only(&lines, "store works again").starts_with("INFO"));
    assert_eq!(lines.len(), 4, "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_broker_is_one_line_each_way() {
    let away = [Some(PublishErrorKind::Unavailable); 5];
    let events: Vec<_> = (0..7).map(|_| event()).collect();
    let lines = run(FakeStore::one_by_one(events), FakeBroker::answers(away)).await;
    let line = "WARN broker failed: its events wait, and no failed attempt is counted error=broker";
    assert!(
        only(&lines, "broker failed").starts_with(line),
        "{lines:#?}"
    );
    assert!(only(&lines, "broker works again").starts_with("INFO"));
    assert_eq!(lines.len(), 4, "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_heap_is_one_line_each_way() {
    let (events, heap) = ((0..20).map(|_| event()), FakeHeap::failing(3));
    let config = OutboxConfig::builder().heap_retry_max(MS).build();
    let worker = OutboxProcessor::new(FakeStore::after_attempts(1, events), FakeBroker::default())
        .config(config.expect("a valid configuration"))
        .dlq_heap(heap);
    let (result, lines) = logged(worker.run(sleep(HOUR))).await;
    result.expect("no fatal error");
    let line = "WARN heap failed: delivery continues, outcomes are kept and reported later";
    assert!(only(&lines, "heap failed").starts_with(line), "{lines:#?}");
    assert!(only(&lines, "heap works again").starts_with("INFO"));
    assert_eq!(lines.len(), 4, "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_another_worker_took_over_is_a_warning() {
    let store = FakeStore::answers([Err(ErrorKind::LeaseLost)]);
    let lines = run(store, FakeBroker::default()).await;
    let line = "WARN a claim was lost: its events may be delivered twice error=";
    assert!(only(&lines, "WARN").starts_with(line), "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_lost_worker_is_a_warning() {
    let event = event();
    let id = event.id;
    let store = FakeStore::answers([Ok(vec![ClaimedEvent::new(event, 0, true)])]);
    let lines = run(store, FakeBroker::default()).await;
    let line =
        format!("WARN took over a lost claim: a failed attempt is counted event={id} error=");
    assert!(only(&lines, "WARN").starts_with(&line), "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_heap_that_drains_instead_of_leasing_is_warned_of_once() {
    let config = OutboxConfig::builder().heap_page(2).build();
    let heap = FakeHeap::draining(3, 2);
    let mut processor = DlqProcessor::new(heap, FakeStore::default())
        .config(config.expect("a valid configuration"));
    let (report, lines) = logged(processor.tick()).await;
    assert_eq!(report.expect("a tick").moved, 6);
    let line = "WARN the heap drains instead of leasing: if this process dies before it has \
                quarantined these events, their counts are lost entries=3 limit=2";
    assert_eq!(only(&lines, "drains"), line);
}
