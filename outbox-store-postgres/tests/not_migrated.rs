//! Tables and columns that are missing: each call says to run migrate.

mod support;

use outbox_core::{
    ClaimLimit, DeadLetterFilter, DeadLetters, DlqEntry, ErrorKind, Event, OutboxError,
    OutboxStorage, Outcome,
};
use std::time::{Duration, SystemTime};
use support::{Own, each};

const LEASE: Duration = Duration::from_secs(30);

/// Runs `change` while a claim is open, and returns each call's name with its error.
async fn errors_after(change: &str) -> Vec<(&'static str, OutboxError)> {
    let own = Own::in_schema("outbox");
    let events: Vec<Event> = (0..3).map(|_| Event::new("missing", "x")).collect();
    own.append(&events).await;
    let store = own.open().await;
    let limit = ClaimLimit::events(1);
    let claim = store.claim(limit, LEASE).await.expect("claimed");
    own.execute(change).await;
    let published = each(&claim, &Outcome::Published);
    let (all, now) = (DeadLetterFilter::all(), SystemTime::UNIX_EPOCH);
    let entry = [DlqEntry::new(events[2].id, 3, now, now)];
    let mut producer = own.connect().await;
    let results = [
        ("claim", store.claim(limit, LEASE).await.map(drop)),
        ("settle", store.settle(claim.token, &published).await),
        (
            "quarantine_events",
            store.quarantine_events(&entry).await.map(drop),
        ),
        ("list", store.list(&all, None, 10).await.map(drop)),
        ("find", store.find(events[2].id).await.map(drop)),
        ("replay", store.replay(&all, 10).await.map(drop)),
        ("purge", store.purge(&all, 10).await.map(drop)),
        ("statistics", store.statistics(&all, 10).await.map(drop)),
        ("backlog", store.backlog().await.map(drop)),
        ("clean_up", store.clean_up(10).await.map(drop)),
        ("wait_for_work", store.wait_for_work(LEASE).await),
        (
            "append",
            own.appender()
                .append(&mut producer, &[Event::new("missing", "y")])
                .await,
        ),
    ];
    let failed = results.into_iter();
    failed
        .filter_map(|(call, result)| Some((call, result.err()?)))
        .collect()
}

fn assert_says_to_migrate(errors: &[(&str, OutboxError)], calls: &[&str]) {
    let failed: Vec<&str> = errors.iter().map(|(call, _)| *call).collect();
    assert_eq!(failed, calls, "{errors:?}");
    for (call, error) in errors {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(error.operation(), *call, "{error}");
        assert!(error.to_string().contains("outbox migrate"), "{error}");
    }
}

#[tokio::test]
async fn each_call_on_missing_tables_says_to_migrate() {
    let errors = errors_after("DROP SCHEMA outbox CASCADE").await;
    let calls = [
        "claim",
        "settle",
        "quarantine_events",
        "list",
        "find",
        "replay",
        "purge",
        "statistics",
        "backlog",
        "clean_up",
        "wait_for_work",
        "append",
    ];
    assert_says_to_migrate(&errors, &calls);
}

#[tokio::test]
async fn each_call_that_needs_a_missing_column_says_to_migrate() {
    let errors = errors_after(
        "ALTER TABLE outbox.outbox_lanes RENAME COLUMN turn TO old_turn;
         ALTER TABLE outbox.outbox_retries RENAME COLUMN attempts TO old_attempts;
         ALTER TABLE outbox.outbox_dead_letters RENAME COLUMN replays TO old_replays",
    )
    .await;
    let calls = [
        "claim",
        "settle",
        "quarantine_events",
        "list",
        "find",
        "replay",
        "backlog",
    ];
    assert_says_to_migrate(&errors, &calls);
}
