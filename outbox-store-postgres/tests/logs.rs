//! What an operator sees in the log. The listener runs in a separate task, so the subscriber is global.

mod support;

use outbox_conformance::Log;
use outbox_conformance::store::StoreFixture;
use outbox_core::{ClaimLimit, Event, OutboxStorage, Outcome};
use outbox_store_postgres::sqlx::postgres::PgPoolOptions;
use outbox_store_postgres::{PostgresConfig, PostgresStore};
use std::time::Duration;
use support::{Own, each};
use tracing::Level;

const LEASE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn lost_claims_and_unreadable_rows_are_logged_once_and_statements_never() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).expect("the only subscriber");
    let own = Own::in_schema("outbox");
    own.append(&[Event::new("t", "x"), Event::new("t", "y")])
        .await;
    // A pool that has connected before the store opens, as `PgPool::connect` makes it.
    let options = PgPoolOptions::new().max_connections(4);
    let pool = options.connect_with(own.options()).await;
    let earlier = log.lines().len();
    let config = PostgresConfig::new(pool.expect("connected"));
    let store = PostgresStore::open(config).await.expect("opened");

    let limit = ClaimLimit::events(10);
    let lost = store.claim(limit, LEASE).await.expect("claimed");
    assert_eq!(lost.events.len(), 2);
    own.elapse(LEASE).await;
    // A suspect is claimed alone, so two claims take over the two events.
    for _ in 0..2 {
        store.wait_for_work(LEASE).await.expect("waited");
        let claim = store.claim(limit, LEASE).await.expect("claimed");
        let settlements = each(&claim, &Outcome::Published);
        let settled = store.settle(claim.token, &settlements).await;
        settled.expect("settled");
    }
    let lines = log.texts(Level::INFO, "took over");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let token = format!("token={}", lost.token.as_uuid());
    assert!(lines[0].contains("events=2"), "{lines:?}");
    assert!(lines[0].contains(&token), "{token}: {lines:?}");

    own.execute(
        "INSERT INTO outbox.outbox_events (event_type, payload, headers)
         VALUES ('t', 'x', '{\"x\":\"\\ud800\"}')",
    )
    .await;
    store.wait_for_work(LEASE).await.expect("waited");
    for _ in 0..3 {
        let claim = store.claim(limit, LEASE).await.expect("claimed");
        assert!(claim.events.is_empty());
    }
    let lines = log.texts(Level::WARN, "quarantined");
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["outbox dlq show", "id=", "reason="] {
        assert!(lines[0].contains(part), "{part}: {lines:?}");
    }

    // Long enough for the listener's connection.
    store
        .wait_for_work(Duration::from_secs(2))
        .await
        .expect("waited");
    let lines = log.lines();
    let statements = lines.iter().skip(earlier);
    let of_the_test = |text: &str| text.contains("test_clock") || text.contains("\\ud800");
    let of_the_store: Vec<_> = statements
        .filter(|line| line.target.starts_with("sqlx") && !of_the_test(&line.text))
        .collect();
    assert!(of_the_store.is_empty(), "{of_the_store:?}");
}
