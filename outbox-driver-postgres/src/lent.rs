//! A connection that returns to its pool only after a call that ended.

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};

/// A connection on loan from a pool.
///
/// If it is dropped before [`give_back`](Self::give_back), it is closed: a transaction may be open on
/// it, or an answer may still arrive. sqlx would give a connection on which a start of a transaction was dropped to the next
/// caller (its issues 4385 and 4393), and would wait without end for the answer of a silent server.
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
