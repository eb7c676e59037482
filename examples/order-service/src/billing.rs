//! The consumer's side: an invoice for each order, once, although an event may be delivered twice.

use crate::Failure;
use crate::orders::OrderPlaced;
use futures_util::StreamExt as _;
use outbox_core::EventId;
use outbox_inbox_postgres::PostgresInbox;
use outbox_transport_nats::async_nats::jetstream::consumer::PullConsumer;
use outbox_transport_nats::async_nats::jetstream::{AckKind, Message};
use sqlx::PgPool;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long the inbox remembers an event: longer than a relay may be down before it publishes the
/// event again.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// How soon a message is delivered again whose order could not be invoiced.
const RETRY: Duration = Duration::from_secs(1);

/// Handles messages until `stop`, and cleans up the inbox every minute.
pub(crate) async fn run(
    pool: &PgPool,
    inbox: &PostgresInbox,
    orders: &PullConsumer,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let mut messages = orders.messages().await?;
    let mut minute = tokio::time::interval(Duration::from_secs(60));
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            message = messages.next() => match message {
                Some(Ok(message)) => receive(pool, inbox, message).await,
                Some(Err(error)) => tracing::warn!(%error, "the stream does not answer"),
                None => return Err("the consumer has ended".into()),
            },
            _ = minute.tick() => {
                if let Err(error) = inbox.clean_up(RETENTION, 10_000).await {
                    tracing::warn!(%error, "the inbox was not cleaned up");
                }
            }
        }
    }
}

/// Acknowledges a message after the commit. The server delivers one again that was not acknowledged.
async fn receive(pool: &PgPool, inbox: &PostgresInbox, message: Message) {
    let answer = match read(&message) {
        Ok((id, placed)) => match handle(pool, inbox, id, &placed).await {
            Ok(()) => AckKind::Ack,
            Err(error) => {
                tracing::warn!(%id, %error, "an order is not invoiced yet");
                AckKind::Nak(Some(RETRY))
            }
        },
        Err(error) => {
            let subject = message.subject.as_str();
            tracing::error!(subject, %error, "a message is not an order, and is not delivered again");
            AckKind::Term
        }
    };
    if let Err(error) = message.ack_with(answer).await {
        tracing::warn!(%error, "a message is not acknowledged, and comes again");
    }
}

/// The event of a message, and its order.
fn read(message: &Message) -> Result<(EventId, OrderPlaced), Failure> {
    let event = outbox_transport_nats::read(message)?;
    Ok((event.id, serde_json::from_slice(&event.payload)?))
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
    id: EventId,
    placed: &OrderPlaced,
) -> Result<(), Failure> {
    let mut tx = pool.begin().await?;
    if inbox.accept(&mut tx, id).await? {
        sqlx::query("INSERT INTO invoices (order_id, total) VALUES ($1, $2)")
            .bind(placed.order)
            .bind(placed.total)
            .execute(&mut *tx)
            .await?;
    }
    Ok(tx.commit().await?)
}
