//! The fixture with connections of diesel.
#![allow(dead_code, reason = "each test file uses a part of it")]

#[path = "../../../outbox-append-postgres/tests/support/fixture.rs"]
mod fixture;

pub(crate) use fixture::Fixture;

use async_trait::async_trait;
use outbox_append_diesel::append;
use outbox_append_diesel::diesel::connection::SimpleConnection;
use outbox_append_diesel::diesel::result::Error;
use outbox_append_diesel::diesel::{Connection, PgConnection};
use outbox_conformance::append::{Append, End, OutsideFixture, Step};
use outbox_core::{Event, OutboxError};

impl Fixture {
    pub(crate) fn connect(&self) -> PgConnection {
        connect(&self.url())
    }
}

pub(crate) fn connect(url: &str) -> PgConnection {
    PgConnection::establish(url).expect("connected")
}

#[async_trait]
impl Append for Fixture {
    async fn transact(&self, steps: &[Step], end: End) -> Vec<Result<(), OutboxError>> {
        let mut results = Vec::new();
        let ended = self.connect().transaction(|connection| {
            for step in steps {
                match step {
                    Step::Append(events) => {
                        results.push(append(connection, &self.schema, events));
                    }
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
        append(&mut connection, &self.schema, events)
    }
}
