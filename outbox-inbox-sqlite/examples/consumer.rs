//! A consumer that handles each event once, also if it is delivered repeatedly.
//!
//! ```console
//! $ outbox relay --store sqlite:shop.db --to stdout:// | consumer billing.db
//! ```
//!
//! It counts the events of each type. An event and its count are one transaction, so a consumer that
//! is killed continues when the events are delivered again.

use outbox_core::EventId;
use outbox_inbox_sqlite::SqliteInbox;
use outbox_inbox_sqlite::rusqlite::{Connection, TransactionBehavior};
use serde_json::Value;
use std::error::Error;
use std::time::Duration;

const RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const COUNTS: &str = "
    CREATE TABLE IF NOT EXISTS counts (event_type TEXT PRIMARY KEY, count INTEGER NOT NULL)";
const COUNT: &str = "
    INSERT INTO counts VALUES (?1, 1) ON CONFLICT DO UPDATE SET count = count + 1";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: consumer FILE")?;
    let inbox = SqliteInbox::migrate(&path, "billing").await?;
    let mut billing = Connection::open(&path)?;
    billing.busy_timeout(Duration::from_secs(5))?;
    billing.execute_batch(COUNTS)?;

    let (mut handled, mut repeated) = (0, 0);
    for line in std::io::stdin().lines() {
        let event: Value = serde_json::from_str(&line?)?;
        let id: EventId = event["id"].as_str().ok_or("an event has an id")?.parse()?;
        let transaction = billing.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if inbox.accept(&transaction, id)? {
            transaction.execute(COUNT, [event["type"].as_str()])?;
            handled += 1;
        } else {
            repeated += 1;
        }
        transaction.commit()?;
        // Here a consumer of a broker acknowledges the event.
    }
    inbox.clean_up(RETENTION, 10_000).await?;
    inbox.close().await?;
    println!("{handled} handled, {repeated} had been before");
    Ok(())
}
