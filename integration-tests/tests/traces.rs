//! Each append stores the trace of the span in which it is called.

use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use outbox_append_tokio_postgres::{Schema, tokio_postgres};
use outbox_core::{ClaimLimit, Event, OutboxStorage, Outcome, Settlement};
use outbox_store_memory::MemoryStore;
use outbox_store_postgres::PostgresStore;
use outbox_store_postgres::sqlx::PgPool;
use outbox_store_sqlite::SqliteStore;
use outbox_store_sqlite::rusqlite::Connection;
use std::collections::BTreeMap;
use std::time::Duration;
use tempfile::TempDir;
use test_servers::postgres::Database;
use tracing::instrument::WithSubscriber;
use tracing::{Dispatch, Instrument, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

const OWN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Two events. The second one has its own trace.
fn events() -> [Event; 2] {
    let event = || Event::new("order.placed", "7");
    [event(), event().header("traceparent", OWN)]
}

/// Appends in a span of an application. Returns the `traceparent` of the span.
async fn in_a_span(append: impl Future<Output = ()>) -> String {
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("shop"));
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
    let span = tracing::dispatcher::with_default(&dispatch, || info_span!("POST /orders"));
    let context = tracing::dispatcher::with_default(&dispatch, || span.context());
    let own = context.span().span_context().clone();
    append.instrument(span).with_subscriber(dispatch).await;
    format!("00-{}-{}-01", own.trace_id(), own.span_id())
}

/// Asserts that the event without a trace has that of the span, and the other one its own.
async fn assert_traces(store: &impl OutboxStorage, events: &[Event; 2], span: String) {
    let mut stored = BTreeMap::new();
    // A claim may have the events of a part of the lanes.
    for _ in 0..1000 {
        let limit = ClaimLimit::events(10);
        let claim = store.claim(limit, Duration::from_secs(60)).await;
        let claim = claim.expect("claimed");
        let published = claim.events.iter();
        let published = published.map(|one| Settlement::new(one.event.id, Outcome::Published));
        let published: Vec<Settlement> = published.collect();
        if !published.is_empty() {
            let settled = store.settle(claim.token, &published).await;
            settled.expect("settled");
        }
        for claimed in claim.events {
            let mut event = claimed.event;
            let traceparent = event.headers.remove("traceparent");
            assert!(event.headers.is_empty(), "{event:?}");
            stored.insert(event.id, traceparent.expect("a trace"));
        }
        if stored.len() == events.len() {
            break;
        }
        let wait = store.wait_for_work(Duration::from_millis(10));
        wait.await.expect("waited");
    }
    let expected = [(events[0].id, span), (events[1].id, OWN.to_owned())];
    assert_eq!(stored, BTreeMap::from(expected));
}

#[tokio::test]
async fn in_memory() {
    let (store, events) = (MemoryStore::new(), events());
    let span = in_a_span(async { store.append(&events).expect("appended") }).await;
    assert_traces(&store, &events, span).await;
}

#[tokio::test]
async fn with_rusqlite() {
    let (folder, events) = (TempDir::new().expect("a folder"), events());
    let path = folder.path().join("shop.db");
    let store = SqliteStore::migrate(path.clone()).await.expect("migrated");
    let span = in_a_span(async {
        let mut connection = Connection::open(&path).expect("opened");
        let tx = connection.transaction().expect("begun");
        outbox_store_sqlite::append(&tx, &events).expect("appended");
        tx.commit().expect("committed");
    });
    let span = span.await;
    assert_traces(&store, &events, span).await;
}

#[tokio::test]
async fn with_sqlx_and_tokio_postgres() {
    let database = Database::create().await;
    let pool = PgPool::connect(&database.url()).await.expect("connected");
    let store = PostgresStore::migrate(pool.clone())
        .await
        .expect("migrated");
    let with_sqlx = events();
    let span = in_a_span(async {
        #[allow(
            clippy::disallowed_methods,
            reason = "as an application does it; the test is not cancelled"
        )]
        let mut tx = pool.begin().await.expect("begun");
        let appended = outbox_store_postgres::append(&mut tx, &with_sqlx).await;
        appended.expect("appended");
        tx.commit().await.expect("committed");
    });
    let span = span.await;
    assert_traces(&store, &with_sqlx, span).await;

    let with_tokio_postgres = events();
    let span = in_a_span(async {
        // The options in the URL are those of sqlx.
        let url = database.url();
        let url = url.split('?').next().unwrap_or_default();
        let connected = tokio_postgres::connect(url, tokio_postgres::NoTls).await;
        let (mut client, connection) = connected.expect("connected");
        tokio::spawn(connection);
        let mut tx = client.transaction().await.expect("begun");
        let schema = Schema::default();
        let appended = outbox_append_tokio_postgres::append(&mut tx, &schema, &with_tokio_postgres);
        appended.await.expect("appended");
        tx.commit().await.expect("committed");
    });
    let span = span.await;
    assert_traces(&store, &with_tokio_postgres, span).await;
}
