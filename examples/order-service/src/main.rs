//! An order service: HTTP requests write orders and their events in one transaction, a relay inside
//! of the process publishes the events to NATS, and billing consumes them with an inbox.
//!
//! `DATABASE_URL` names a PostgreSQL database, `NATS_URL` a NATS server with JetStream (default
//! `nats://127.0.0.1:4222`), `STREAM` its stream (default `shop`), and `LISTEN` the address (default
//! `127.0.0.1:8080`). The service ends at ctrl-c and at SIGTERM. `docs/embedding.md` explains each step.

mod billing;
mod broker;
mod orders;
#[cfg(test)]
mod tests;

use outbox_core::{OutboxConfig, Relay};
use outbox_dlq_postgres::PostgresDlqHeap;
use outbox_inbox_postgres::PostgresInbox;
use outbox_store_postgres::PostgresStore;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use std::error::Error;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let url = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set")?;
    let or = |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let address = or("LISTEN", "127.0.0.1:8080");
    let nats = Nats {
        servers: or("NATS_URL", "nats://127.0.0.1:4222"),
        stream: or("STREAM", "shop"),
    };
    // The relay has a separate pool, so that a burst of requests does not delay it.
    let (relay_pool, pool) = (connect(&url, 4).await?, connect(&url, 12).await?);
    let listener = TcpListener::bind(&address).await?;
    println!("listening on {}", listener.local_addr()?);

    let stop = CancellationToken::new();
    let mut tasks = start(relay_pool, pool, &nats, listener, &stop).await?;
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let first = tokio::select! {
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        // No task ends by itself, so this one failed, and the service must not look healthy.
        ended = tasks.join_next() => ended,
    };
    stop.cancel();
    let mut result = first.map_or(Ok(()), |ended| ended?);
    while let Some(ended) = tasks.join_next().await {
        result = result.and(ended?);
    }
    result
}

/// Where events go.
struct Nats {
    servers: String,
    stream: String,
}

async fn connect(url: &str, connections: u32) -> Result<PgPool, Failure> {
    let options = PgPoolOptions::new().max_connections(connections);
    Ok(options.connect(url).await?)
}

/// Starts the three tasks of the service. At `stop` the HTTP server completes the requests that it
/// has, the relay the publish that it has, and billing the order that it has.
async fn start(
    relay_pool: PgPool,
    pool: PgPool,
    nats: &Nats,
    listener: TcpListener,
    stop: &CancellationToken,
) -> Result<JoinSet<Result<(), Failure>>, Failure> {
    orders::migrate(&pool).await?;
    let store = Arc::new(PostgresStore::migrate(relay_pool.clone()).await?);
    let heap = PostgresDlqHeap::migrate(relay_pool).await?;
    let inbox = PostgresInbox::migrate(pool.clone(), "billing").await?;
    let broker = broker::transport(&nats.servers, &nats.stream)?;
    let orders = broker::orders(&nats.servers, &nats.stream).await?;

    // The events of a killed service wait for the end of this lease.
    let config = OutboxConfig::builder()
        .publish_timeout(Duration::from_secs(3))
        .lease(Duration::from_secs(5))
        .build()?;
    let relay = Relay::new(Arc::clone(&store), broker)
        .dlq_heap(heap)
        .config(config);
    let (relay_stop, billing_stop) = (stop.clone().cancelled_owned(), stop.clone());
    let server = axum::serve(listener, orders::router(pool.clone(), store))
        .with_graceful_shutdown(stop.clone().cancelled_owned());

    let mut tasks = JoinSet::new();
    tasks.spawn(async move { Ok(relay.run(relay_stop).await?) });
    tasks.spawn(async move { Ok(server.await?) });
    tasks.spawn(async move { billing::run(&pool, &inbox, &orders, billing_stop).await });
    Ok(tasks)
}
