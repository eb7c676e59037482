//! The table of a PostgreSQL database, in a schema of the demo's.

use super::Remote;
use crate::demo::postgres::prepare;
use crate::failure::Failure;
use crate::wiring::{self, DESTINATION, Database};
use async_trait::async_trait;
use outbox_core::Event;
use outbox_driver_postgres::Schema;
use outbox_driver_postgres::sqlx::{self, AssertSqlSafe, PgConnection};

/// That of the store is another one, so both may be in one database.
const SCHEMA: &str = "outbox_demo_arrived";

pub(super) struct Place {
    /// Whether the URL names the schema.
    is_named: bool,
    connection: PgConnection,
    schema: Schema,
}

impl Place {
    pub(super) async fn afresh(url: &str) -> Result<Self, Failure> {
        let (_, given) = wiring::broker(url)?;
        let url = wiring::with_schema(&given, SCHEMA);
        let database = Database::parse(DESTINATION, &url)?;
        let mut connection = database.connect().await?;
        prepare(&mut connection, &database, "").await?;
        wiring::migrate(&[wiring::table(&url)?]).await?;
        Ok(Self {
            is_named: url == given,
            connection,
            schema: database.schema().clone(),
        })
    }
}

#[async_trait]
impl Remote for Place {
    fn name(&self) -> String {
        format!("the schema {:?}", self.schema.name())
    }

    fn parameters(&self) -> &'static str {
        if self.is_named {
            return "";
        }
        "schema=outbox_demo_arrived"
    }

    async fn read(&mut self) -> Result<Vec<Event>, Failure> {
        let table = format!(
            "SELECT * FROM {}.outbox_arrived ORDER BY seq",
            self.schema.quoted()
        );
        let rows = sqlx::query(AssertSqlSafe(table));
        let rows = rows.fetch_all(&mut self.connection).await?;
        let events = rows.iter().map(outbox_transport_postgres::read);
        Ok(events.collect::<Result<_, _>>()?)
    }
}
