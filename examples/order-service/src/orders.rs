//! The producer's side: an order and its event commit together.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use outbox_core::{Event, OutboxError, OutboxStorage as _};
use outbox_store_postgres::{PostgresStore, append};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;
use std::sync::Arc;

/// The payload of `order.placed`.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct OrderPlaced {
    pub(crate) order: i64,
    pub(crate) customer: String,
    pub(crate) total: i64,
}

/// The body of `POST /orders`.
#[derive(Debug, Deserialize)]
pub(crate) struct NewOrder {
    customer: String,
    total: i64,
}

#[derive(Clone, Debug)]
struct Shop {
    pool: PgPool,
    store: Arc<PostgresStore>,
}

/// The tables of the service.
pub(crate) async fn migrate(pool: &PgPool) -> sqlx::Result<()> {
    sqlx::raw_sql(include_str!("tables.sql"))
        .execute(pool)
        .await?;
    Ok(())
}

pub(crate) fn router(pool: PgPool, store: Arc<PostgresStore>) -> Router {
    Router::new()
        .route("/orders", post(place))
        .route("/orders/{id}", get(show))
        .route("/health", get(health))
        .with_state(Shop { pool, store })
}

/// A client that disconnects drops the handler, but not the task that writes.
async fn place(State(shop): State<Shop>, Json(new): Json<NewOrder>) -> Result<Response, Refusal> {
    if new.total <= 0 {
        let problem = format!("total is {}, but must be at least 1", new.total);
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, problem).into_response());
    }
    let order = tokio::spawn(async move { write(&shop.pool, new).await }).await??;
    Ok((StatusCode::CREATED, Json(json!({ "order": order }))).into_response())
}

/// The order and its event are in one transaction: both exist after its commit, or neither.
#[allow(
    clippy::disallowed_methods,
    reason = "no caller drops this future, so no connection goes back to the pool inside of a transaction"
)]
async fn write(pool: &PgPool, new: NewOrder) -> Result<i64, Refusal> {
    let mut tx = pool.begin().await?;
    let insert = "INSERT INTO orders (customer, total) VALUES ($1, $2) RETURNING id";
    let order: i64 = sqlx::query_scalar(insert)
        .bind(&new.customer)
        .bind(new.total)
        .fetch_one(&mut *tx)
        .await?;
    let placed = OrderPlaced {
        order,
        customer: new.customer,
        total: new.total,
    };
    let event = Event::json("order.placed", &placed)?.ordering_key(format!("order-{order}"));
    append(&mut tx, &[event]).await?;
    tx.commit().await?;
    Ok(order)
}

/// An order, and whether billing has made its invoice.
async fn show(State(shop): State<Shop>, Path(order): Path<i64>) -> Result<Response, Refusal> {
    let select = "SELECT customer, total, EXISTS (SELECT FROM invoices WHERE order_id = orders.id) \
                  FROM orders WHERE id = $1";
    let found: Option<(String, i64, bool)> = sqlx::query_as(select)
        .bind(order)
        .fetch_optional(&shop.pool)
        .await?;
    Ok(match found {
        None => StatusCode::NOT_FOUND.into_response(),
        Some((customer, total, invoiced)) => {
            let body = json!({ "customer": customer, "total": total, "invoiced": invoiced });
            Json(body).into_response()
        }
    })
}

/// What an operator watches: events that wait, the age of the oldest, and dead letters.
async fn health(State(shop): State<Shop>) -> Result<Response, Refusal> {
    let backlog = shop.store.backlog().await?;
    let oldest = backlog
        .oldest_pending
        .and_then(|created| created.elapsed().ok());
    let body = json!({
        "pending": backlog.pending,
        "oldest_pending_seconds": oldest.map(|age| age.as_secs()),
        "dead_letters": backlog.dead_letters,
    });
    Ok(Json(body).into_response())
}

/// An error that the client did not cause. The log has its text, the client only the status.
#[derive(Debug)]
pub(crate) struct Refusal(crate::Failure);

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self(error.into())
    }
}

impl From<OutboxError> for Refusal {
    fn from(error: OutboxError) -> Self {
        Self(error.into())
    }
}

impl From<tokio::task::JoinError> for Refusal {
    fn from(error: tokio::task::JoinError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        tracing::error!(error = %self.0, "a request failed");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
