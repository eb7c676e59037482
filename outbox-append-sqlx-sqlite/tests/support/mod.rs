//! The fixture with connections of sqlx.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::disallowed_methods,
    reason = "the transactions are those of an application"
)]

#[path = "../../../outbox-append-sqlite/tests/support/fixture.rs"]
mod fixture;

pub(crate) use fixture::Fixture;

use async_trait::async_trait;
use outbox_append_sqlx_sqlite::append;
use outbox_append_sqlx_sqlite::sqlx::sqlite::{SqliteConnectOptions, SqliteOperation};
use outbox_append_sqlx_sqlite::sqlx::{ConnectOptions, Connection, Executor, SqliteConnection};
use outbox_conformance::append::{Append, End, Step};
use outbox_core::OutboxError;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Fixture {
    pub(crate) async fn connect(&self) -> SqliteConnection {
        self.connect_with_timeout(Duration::from_secs(10)).await
    }

    pub(crate) async fn connect_with_timeout(&self, timeout: Duration) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.path());
        let connected = options.busy_timeout(timeout).connect().await;
        let mut connection = connected.expect("connected");
        let statements = Arc::clone(&self.statements);
        let mut handle = connection.lock_handle().await.expect("a handle");
        handle.set_update_hook(move |update| {
            if update.operation == SqliteOperation::Insert && update.table == "outbox_events" {
                statements.fetch_add(1, Ordering::Relaxed);
            }
        });
        drop(handle);
        connection
    }
}

#[async_trait]
impl Append for Fixture {
    async fn transact(&self, steps: &[Step], end: End) -> Vec<Result<(), OutboxError>> {
        let mut connection = self.connect().await;
        let begun = connection.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.expect("begun");
        let mut results = Vec::new();
        for step in steps {
            let sql = match step {
                Step::Append(events) => {
                    results.push(append(&mut transaction, events).await);
                    continue;
                }
                Step::Savepoint => "SAVEPOINT s",
                Step::RollBackToSavepoint => "ROLLBACK TO SAVEPOINT s",
            };
            transaction.execute(sql).await.expect("a savepoint");
        }
        match end {
            End::Commit => transaction.commit().await.expect("committed"),
            End::RollBack => transaction.rollback().await.expect("rolled back"),
        }
        connection.close().await.expect("closed");
        results
    }
}
