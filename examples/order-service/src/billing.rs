//! The consumer's side: an invoice for each order, once, although an event may be delivered twice.

use crate::Failure;
use crate::broker::Delivery;
use crate::orders::OrderPlaced;
use outbox_core::{Event, PublishError, PublishErrorKind};
use outbox_inbox_postgres::PostgresInbox;
use sqlx::PgPool;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long the inbox remembers an event: longer than a relay may be down before it publishes the
/// event again.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Handles deliveries until the publisher's end is dropped, and cleans up the inbox every minute.
pub(crate) async fn run(
    pool: &PgPool,
    inbox: &PostgresInbox,
    mut deliveries: mpsc::Receiver<Delivery>,
) {
    let mut minute = tokio::time::interval(Duration::from_secs(60));
    loop {
        tokio::select! {
            delivery = deliveries.recv() => {
                let Some(Delivery { event, done }) = delivery else { return };
                let handled = handle(pool, inbox, &event).await;
                // A publisher that stopped waiting delivers the event again.
                let _ = done.send(handled);
            }
            _ = minute.tick() => {
                if let Err(error) = inbox.clean_up(RETENTION, 10_000).await {
                    tracing::warn!(%error, "the inbox was not cleaned up");
                }
            }
        }
    }
}

/// The inbox is asked in the transaction that writes the invoice. If that rolls back, the next
/// delivery of the event counts as the first.
#[allow(
    clippy::disallowed_methods,
    reason = "no caller drops this future, so no connection goes back to the pool inside of a transaction"
)]
pub(crate) async fn handle(
    pool: &PgPool,
    inbox: &PostgresInbox,
    event: &Event,
) -> Result<(), PublishError> {
    // An event that billing cannot read is rejected, and becomes a dead letter in the end.
    let placed: OrderPlaced = serde_json::from_slice(&event.payload)
        .map_err(|error| PublishError::new(PublishErrorKind::Rejected).with_source(error))?;
    let bill = async {
        let mut tx = pool.begin().await?;
        if inbox.accept(&mut tx, event.id).await? {
            sqlx::query("INSERT INTO invoices (order_id, total) VALUES ($1, $2)")
                .bind(placed.order)
                .bind(placed.total)
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    };
    // Anything else is the database's state, which is not the event's fault.
    bill.await.map_err(|error: Failure| {
        PublishError::new(PublishErrorKind::Unavailable).with_source(error)
    })
}
