//! S17, S23: a resumption wakes the workers that listen, as a new event does.

mod support;

use outbox_core::{ClaimLimit, Event, OutboxStorage, Outcome};
use outbox_store_postgres::sqlx::postgres::PgListener;
use outbox_store_postgres::sqlx::{Executor, Row};
use std::time::Duration;
use support::{Own, each};

const LEASE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_resumption_notifies_if_an_event_becomes_due() {
    let own = Own::in_schema("outbox");
    let store = own.open().await;
    own.append(&[Event::new("resumed", "")]).await;
    let claim = store.claim(ClaimLimit::events(1), LEASE).await;
    let claim = claim.expect("claimed");
    let held = Outcome::Held {
        destination: "topic".into(),
        delay: 10 * LEASE,
    };
    let settled = store.settle(claim.token, &each(&claim, &held)).await;
    settled.expect("settled");
    let mut connection = own.connect().await;
    let channel = "SELECT 'outbox_' || 'outbox.outbox_events'::regclass::oid";
    let channel: String = connection.fetch_one(channel).await.expect("read").get(0);
    let mut listener = PgListener::connect_with(&own.pool())
        .await
        .expect("connected");
    listener.listen(&channel).await.expect("listening");
    let resumed = store.resume("topic", 10).await;
    assert_eq!(resumed.expect("resumed"), 1);
    let heard = tokio::time::timeout(LEASE, listener.recv()).await;
    heard.expect("a notification").expect("connected");
}
