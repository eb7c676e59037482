//! The shop: its orders, and the producer that writes both rows and events.

use crate::failure::Failure;
use async_trait::async_trait;
use outbox_core::{Event, EventId, OutboxError};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Duration;

/// The orders that are built in.
pub(super) const ORDERS: &str = include_str!("../../data/chinook-orders.ndjson");

/// The header with the number of the event in its key.
pub(super) const SEQUENCE: &str = "sequence";

/// Where the demo takes place.
pub(super) struct Place {
    pub(super) shop: Box<dyn Shop>,
    /// The URL of the outbox.
    pub(super) url: String,
    /// The URL as it may be shown.
    pub(super) shown: String,
    /// Whether a password is not shown.
    pub(super) hides_password: bool,
    /// The name of the database, which each run creates again.
    pub(super) name: String,
}

/// The tables of the shop, next to those of the outbox.
#[async_trait]
pub(super) trait Shop: Send {
    /// Writes the rows of an order and its events in one transaction, and commits it or rolls it
    /// back.
    async fn write(&mut self, order: &Order, events: &[Event], end: End) -> Result<(), Failure>;

    /// How many events the rows stand for: one for each order, line and payment.
    async fn count_rows(&mut self) -> Result<i64, Failure>;
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    Commit,
    Rollback,
}

/// The statement of [`Shop::count_rows`].
pub(super) const COUNT_ROWS: &str = "
    SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM order_lines)
         + (SELECT count(*) FROM payments)";

#[derive(Debug, Deserialize, Serialize)]
#[allow(clippy::struct_field_names, reason = "the names of the data file")]
pub(super) struct Order {
    pub(super) order_id: i64,
    pub(super) ordered_at: String,
    pub(super) customer_id: i64,
    customer: String,
    company: Option<String>,
    country: String,
    city: String,
    pub(super) total: f64,
    #[serde(skip_serializing)]
    pub(super) lines: Vec<OrderLine>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct OrderLine {
    pub(super) track_id: i64,
    pub(super) title: String,
    artist: String,
    unit_price: f64,
    pub(super) quantity: i64,
}

/// Reads orders, one JSON object a line; names the first line that is not one.
pub(super) fn parse(text: &str, name: &str) -> Result<Vec<Order>, Failure> {
    let mut orders = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let order = serde_json::from_str(line).map_err(|error| {
            Failure::Input(format!(
                "{name}, line {}: not an order: {error}",
                number + 1
            ))
        })?;
        orders.push(order);
    }
    if orders.is_empty() {
        return Err(Failure::Input(format!("{name}: no orders")));
    }
    Ok(orders)
}

/// What the producer did.
#[derive(Debug, Default)]
pub(super) struct Produced {
    pub(super) orders: usize,
    /// Of the shop's own tables.
    pub(super) rows: usize,
    pub(super) committed: Vec<EventId>,
    /// Events of transactions that were rolled back on purpose.
    pub(super) rolled_back: Vec<EventId>,
}

/// Writes each order with its events.
pub(super) async fn produce(
    mut shop: Box<dyn Shop>,
    orders: Vec<Order>,
) -> Result<Produced, Failure> {
    let mut produced = Produced::default();
    let mut sequences: HashMap<i64, u64> = HashMap::new();
    for order in &orders {
        let sequence = sequences.entry(order.customer_id).or_default();
        if order.order_id % 40 == 0 {
            // A checkout that fails at the last moment: neither rows nor events may remain.
            let events = events(order, *sequence)?;
            shop.write(order, &events, End::Rollback).await?;
            produced.rolled_back.extend(ids(&events));
        }
        let events = events(order, *sequence)?;
        shop.write(order, &events, End::Commit).await?;
        *sequence += events.len() as u64;
        produced.orders += 1;
        produced.committed.extend(ids(&events));
        // Customers take their time; without it the producer is done before the relay has begun.
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    produced.rows = usize::try_from(shop.count_rows().await?).unwrap_or_default();
    Ok(produced)
}

fn ids(events: &[Event]) -> impl Iterator<Item = EventId> {
    events.iter().map(|event| event.id)
}

fn events(order: &Order, sequence: u64) -> Result<Vec<Event>, OutboxError> {
    let mut events = vec![Event::json("order.placed", order)?];
    for line in &order.lines {
        events.push(Event::json("order.line", line)?);
    }
    let payment = serde_json::json!({ "order_id": order.order_id, "amount": order.total });
    events.push(Event::json("order.paid", &payment)?);
    let key = format!("customer-{}", order.customer_id);
    let numbered = |(number, event): (u64, Event)| {
        event
            .ordering_key(&key)
            .header(SEQUENCE, (sequence + number).to_string())
    };
    Ok((1..).zip(events).map(numbered).collect())
}
