//! The table of another PostgreSQL database, read back by its own client.

use super::{Broker, CALL, Process};
use async_trait::async_trait;
use outbox_core::{Event, Transport};
use outbox_transport_postgres::sqlx;
use outbox_transport_postgres::{PostgresTransport, PostgresTransportConfig, Schema, read};
use std::sync::Arc;
use test_servers::postgres::Database;
use test_servers::{Kind, Server, search_path};

/// A database with the table of arrived events. A payload has at most 1 MiB.
#[derive(Debug)]
pub struct Arrived {
    // Dropped first, as its server is needed for that.
    database: Database,
    server: Server,
}

const LIMIT: &str = "ALTER TABLE outbox.outbox_arrived
                     ADD CONSTRAINT at_most_a_mebibyte CHECK (octet_length(payload) <= 1048576)";

impl Arrived {
    /// Connections to the database.
    #[must_use]
    pub fn pool(&self) -> sqlx::PgPool {
        self.database.pool_of(4)
    }
}

#[async_trait]
impl Broker for Arrived {
    const REFUSAL: &'static str = "at_most_a_mebibyte";

    async fn start() -> Self {
        let server = Server::start(Kind::Postgres, &search_path()).expect("a server");
        let database = Database::create_on(server.url()).await;
        Self { database, server }
    }

    async fn create(&self) {
        let script = PostgresTransport::script(&Schema::default());
        self.database.execute(&script).await;
        self.database.execute(LIMIT).await;
    }

    fn transport(&self) -> Arc<dyn Transport> {
        let config = PostgresTransportConfig::new(self.database.pool_of(10)).call_timeout(CALL);
        Arc::new(PostgresTransport::open(config).expect("opened"))
    }

    fn server(&mut self) -> &mut dyn Process {
        &mut self.server
    }

    async fn received(&self) -> Vec<Event> {
        let all = "SELECT * FROM outbox.outbox_arrived ORDER BY seq";
        let all = sqlx::query(all).fetch_all(&self.database.pool_of(1)).await;
        let rows = all.expect("read");
        rows.iter()
            .map(|row| read(row).expect("an event"))
            .collect()
    }
}
