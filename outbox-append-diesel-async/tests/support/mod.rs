//! The fixture with connections of diesel-async.
#![allow(dead_code, reason = "each test file uses a part of it")]

#[path = "../../../outbox-append-postgres/tests/support/fixture.rs"]
mod fixture;

pub(crate) use fixture::Fixture;

use async_trait::async_trait;
use outbox_append_diesel_async::append;
use outbox_append_diesel_async::diesel::result::Error;
use outbox_append_diesel_async::diesel_async::{
    AsyncConnection, AsyncPgConnection, SimpleAsyncConnection,
};
use outbox_conformance::append::{Append, End, OutsideFixture, Step};
use outbox_core::{Event, OutboxError};

impl Fixture {
    pub(crate) async fn connect(&self) -> AsyncPgConnection {
        connect(&self.url()).await
    }
}

pub(crate) async fn connect(url: &str) -> AsyncPgConnection {
    AsyncPgConnection::establish(url).await.expect("connected")
}

#[async_trait]
impl Append for Fixture {
    async fn transact(&self, steps: &[Step], end: End) -> Vec<Result<(), OutboxError>> {
        let mut results = Vec::new();
        let steps = async |connection: &mut AsyncPgConnection| {
            for step in steps {
                match step {
                    Step::Append(events) => {
                        results.push(append(connection, &self.schema, events).await);
                    }
                    Step::Savepoint => connection.batch_execute("SAVEPOINT s").await?,
                    Step::RollBackToSavepoint => {
                        connection.batch_execute("ROLLBACK TO SAVEPOINT s").await?;
                    }
                }
            }
            match end {
                End::Commit => Ok(()),
                End::RollBack => Err(Error::RollbackTransaction),
            }
        };
        let ended = self.connect().await.transaction(steps).await;
        match (ended, end) {
            (Ok(()), End::Commit) | (Err(Error::RollbackTransaction), End::RollBack) => results,
            (ended, _) => panic!("the transaction ended with {ended:?}"),
        }
    }
}

#[async_trait]
impl OutsideFixture for Fixture {
    async fn append_outside(&self, events: &[Event]) -> Result<(), OutboxError> {
        let mut connection = self.connect().await;
        let begun = connection.transaction(async |_| Ok::<_, Error>(()));
        begun.await.expect("a transaction before");
        append(&mut connection, &self.schema, events).await
    }
}
