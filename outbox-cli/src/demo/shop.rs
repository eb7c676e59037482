//! The shop: its orders, its tables, and the producer that writes both rows and events.

use crate::failure::Failure;
use outbox_core::{Event, EventId, OutboxError};
use outbox_store_sqlite::append;
use outbox_store_sqlite::rusqlite::{Connection, Transaction, TransactionBehavior};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// The orders that are built in.
pub(super) const ORDERS: &str = include_str!("../../data/chinook-orders.ndjson");

/// Marks the file as the demo's ("obxd"), so that no other file is ever replaced.
pub(super) const APPLICATION_ID: i32 = 0x6f62_7864;

/// The header with the number of the event in its key.
pub(super) const SEQUENCE: &str = "sequence";

const TABLES: &str = "
    CREATE TABLE orders (
        id INTEGER PRIMARY KEY, customer INTEGER NOT NULL, ordered_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE order_lines (
        order_id INTEGER NOT NULL REFERENCES orders, track INTEGER NOT NULL, title TEXT NOT NULL,
        quantity INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE payments (order_id INTEGER PRIMARY KEY REFERENCES orders, amount REAL NOT NULL)
        STRICT;";

#[derive(Debug, Deserialize, Serialize)]
#[allow(clippy::struct_field_names, reason = "the names of the data file")]
pub(super) struct Order {
    order_id: i64,
    ordered_at: String,
    customer_id: i64,
    customer: String,
    company: Option<String>,
    country: String,
    city: String,
    total: f64,
    #[serde(skip_serializing)]
    lines: Vec<OrderLine>,
}

#[derive(Debug, Deserialize, Serialize)]
struct OrderLine {
    track_id: i64,
    title: String,
    artist: String,
    unit_price: f64,
    quantity: i64,
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

/// Creates the shop's own tables.
pub(super) fn create(path: &Path) -> Result<(), Failure> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.execute_batch(TABLES)?;
    Ok(())
}

/// How many events the shop's own rows stand for: one for each order, line and payment.
pub(super) fn count_rows(path: &Path) -> Result<usize, Failure> {
    let count = "SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM order_lines)
                      + (SELECT count(*) FROM payments)";
    let rows: i64 = Connection::open(path)?.query_row(count, [], |row| row.get(0))?;
    Ok(usize::try_from(rows).unwrap_or_default())
}

/// What the producer did.
#[derive(Debug, Default)]
pub(super) struct Produced {
    pub(super) orders: usize,
    pub(super) committed: Vec<EventId>,
    /// Events of transactions that were rolled back on purpose.
    pub(super) rolled_back: Vec<EventId>,
}

/// Writes each order with its events in one transaction. Blocks; runs on a thread of its own.
pub(super) fn produce(path: &Path, orders: &[Order]) -> Result<Produced, Failure> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.execute_batch("PRAGMA foreign_keys = ON")?;
    let mut produced = Produced::default();
    let mut sequences: HashMap<i64, u64> = HashMap::new();
    for order in orders {
        let sequence = sequences.entry(order.customer_id).or_default();
        if order.order_id % 40 == 0 {
            // A checkout that fails at the last moment: neither rows nor events may remain.
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            produced.rolled_back.extend(write(&tx, order, *sequence)?);
            tx.rollback()?;
        }
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let ids = write(&tx, order, *sequence)?;
        tx.commit()?;
        *sequence += ids.len() as u64;
        produced.orders += 1;
        produced.committed.extend(ids);
        // Customers take their time; without it the producer is done before the relay has begun.
        std::thread::sleep(Duration::from_millis(3));
    }
    Ok(produced)
}

fn write(tx: &Transaction<'_>, order: &Order, sequence: u64) -> Result<Vec<EventId>, Failure> {
    tx.execute(
        "INSERT INTO orders VALUES (?1, ?2, ?3)",
        (order.order_id, order.customer_id, &order.ordered_at),
    )?;
    for line in &order.lines {
        tx.execute(
            "INSERT INTO order_lines VALUES (?1, ?2, ?3, ?4)",
            (order.order_id, line.track_id, &line.title, line.quantity),
        )?;
    }
    tx.execute(
        "INSERT INTO payments VALUES (?1, ?2)",
        (order.order_id, order.total),
    )?;
    let events = events(order, sequence)?;
    append(tx, &events)?;
    Ok(events.iter().map(|event| event.id).collect())
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
