//! What the shops on all data layers sell.

use outbox_core::Event;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) customer: &'static str,
    pub(crate) total: i64,
    /// The transaction of an order that is not paid rolls back: neither the order nor its event remains.
    pub(crate) is_paid: bool,
}

pub(crate) const ORDERS: [Order; 2] = [
    Order {
        customer: "leonie",
        total: 198,
        is_paid: true,
    },
    Order {
        customer: "luis",
        total: 396,
        is_paid: false,
    },
];

/// What `show` finds afterwards.
#[allow(dead_code, reason = "only the tests of the shops compare it")]
pub(crate) const SOLD: [&str; 2] = [
    "order of leonie: 198",
    r#"event order.placed of leonie: {"customer":"leonie","total":198}"#,
];

impl Order {
    /// Orders of a customer are published in the order of their commits.
    pub(crate) fn placed(&self) -> Event {
        let Self {
            customer, total, ..
        } = self;
        let payload = format!(r#"{{"customer":"{customer}","total":{total}}}"#);
        let placed = Event::new("order.placed", payload).ordering_key(*customer);
        placed.content_type("application/json")
    }
}

/// A line about an event that arrived in the outbox.
pub(crate) fn line(event: &Event) -> String {
    let key = event.ordering_key.as_deref().unwrap_or_default();
    let payload = String::from_utf8_lossy(&event.payload);
    format!("event {} of {key}: {payload}", event.event_type)
}

/// The database that `DATABASE_URL` names.
pub(crate) fn url() -> Result<String, Failure> {
    let url = std::env::var("DATABASE_URL");
    Ok(url.map_err(|_| "DATABASE_URL is not set, but must name a database")?)
}
