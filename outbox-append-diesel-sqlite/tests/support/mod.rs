//! The fixture with connections of diesel.
#![allow(dead_code, reason = "each test file uses a part of it")]

#[path = "../../../outbox-append-sqlite/tests/support/fixture.rs"]
mod fixture;

pub(crate) use fixture::Fixture;

use async_trait::async_trait;
use outbox_append_diesel_sqlite::append;
use outbox_append_diesel_sqlite::diesel::connection::{InstrumentationEvent, SimpleConnection};
use outbox_append_diesel_sqlite::diesel::result::Error;
use outbox_append_diesel_sqlite::diesel::{Connection, SqliteConnection};
use outbox_conformance::append::{Append, End, OutsideFixture, Step};
use outbox_core::{Event, OutboxError};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Fixture {
    pub(crate) fn connect(&self) -> SqliteConnection {
        let mut connection = SqliteConnection::establish(&self.path()).expect("connected");
        let set = connection.batch_execute("PRAGMA busy_timeout = 10000");
        set.expect("set");
        let statements = Arc::clone(&self.statements);
        connection.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            if let InstrumentationEvent::StartQuery { query, .. } = event
                && query.to_string().contains("INSERT INTO outbox_events")
            {
                statements.fetch_add(1, Ordering::Relaxed);
            }
        });
        connection
    }
}

#[async_trait]
impl Append for Fixture {
    async fn transact(&self, steps: &[Step], end: End) -> Vec<Result<(), OutboxError>> {
        let mut results = Vec::new();
        let ended = self.connect().immediate_transaction(|connection| {
            for step in steps {
                match step {
                    Step::Append(events) => results.push(append(connection, events)),
                    Step::Savepoint => connection.batch_execute("SAVEPOINT s")?,
                    Step::RollBackToSavepoint => {
                        connection.batch_execute("ROLLBACK TO SAVEPOINT s")?;
                    }
                }
            }
            match end {
                End::Commit => Ok(()),
                End::RollBack => Err(Error::RollbackTransaction),
            }
        });
        match (ended, end) {
            (Ok(()), End::Commit) | (Err(Error::RollbackTransaction), End::RollBack) => results,
            (ended, _) => panic!("the transaction ended with {ended:?}"),
        }
    }
}

#[async_trait]
impl OutsideFixture for Fixture {
    async fn append_outside(&self, events: &[Event]) -> Result<(), OutboxError> {
        let mut connection = self.connect();
        let begun = connection.transaction::<_, Error, _>(|_| Ok(()));
        begun.expect("a transaction before");
        append(&mut connection, events)
    }
}
