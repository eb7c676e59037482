//! A connection that goes back to its pool only after a call that ended.

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};

/// A connection on loan from a pool.
///
/// If it is dropped before [`give_back`](Self::give_back), it is closed: a transaction may be open on
/// it, or an answer may still arrive. sqlx would give such a connection
/// to the next caller when a `begin` was dropped half-way (its issues 4385 and 4393), and would
/// wait for the answer of a silent server for ever.
pub(crate) struct Lent {
    connection: PoolConnection<Postgres>,
    ended: bool,
}

impl Lent {
    pub(crate) fn new(connection: PoolConnection<Postgres>) -> Self {
        Self {
            connection,
            ended: false,
        }
    }

    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    pub(crate) fn give_back(mut self) {
        self.ended = true;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.ended {
            // The server rolls back what it has not committed.
            self.connection.close_on_drop();
        }
    }
}
