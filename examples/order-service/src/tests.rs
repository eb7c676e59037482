//! Handlers are tested without a relay and without a broker.

use crate::{billing, orders};
use outbox_core::EventId;
use outbox_inbox_postgres::PostgresInbox;
use test_servers::postgres::Database;

#[tokio::test]
async fn an_event_that_is_delivered_twice_makes_one_invoice() -> Result<(), crate::Failure> {
    let database = Database::create().await;
    let pool = database.pool();
    orders::migrate(&pool).await?;
    let inbox = PostgresInbox::migrate(pool.clone(), "billing").await?;
    sqlx::query("INSERT INTO orders (customer, total) VALUES ('leonie', 198)")
        .execute(&pool)
        .await?;
    let placed = orders::OrderPlaced {
        order: 1,
        customer: "leonie".to_owned(),
        total: 198,
    };
    let id = EventId::new();
    for _ in 0..2 {
        billing::handle(&pool, &inbox, id, &placed).await?;
    }
    let invoices: Vec<(i64, i64)> = sqlx::query_as("SELECT order_id, total FROM invoices")
        .fetch_all(&pool)
        .await?;
    assert_eq!(invoices, [(1, 198)]);
    Ok(())
}
