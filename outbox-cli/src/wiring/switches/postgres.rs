//! The table in a schema of PostgreSQL.

use super::{NAME, SwitchTable, SwitchedOff, TABLE};
use async_trait::async_trait;
use outbox_core::OutboxError;
use outbox_driver_postgres::sqlx::postgres::PgRow;
use outbox_driver_postgres::sqlx::{self, Row};
use outbox_driver_postgres::{Component, Driver, PgTime, PostgresConfig, postgres_error};
use outbox_transport_http::Switches;

pub(crate) const COMPONENT: Component = Component {
    name: NAME,
    tables: &[TABLE],
    migrations: &[include_str!("postgres.sql")],
    min_compatible: 1,
};

const LIST: &str = "SELECT name, since, reason FROM outbox.outbox_destinations_off ORDER BY name";
const OFF: &str = "INSERT INTO outbox.outbox_destinations_off (name, reason) VALUES ($1, $2) \
                   ON CONFLICT DO NOTHING";
const ON: &str = "DELETE FROM outbox.outbox_destinations_off WHERE name = $1";

#[derive(Debug)]
pub(crate) struct PostgresSwitches(Driver);

impl PostgresSwitches {
    pub(crate) async fn open(config: impl Into<PostgresConfig>) -> Result<Self, OutboxError> {
        COMPONENT.open(config).await.map(Self)
    }
}

#[async_trait]
impl Switches for PostgresSwitches {
    async fn off(&self) -> Result<Vec<String>, OutboxError> {
        let list = self.list().await?.into_iter();
        Ok(list.map(|off| off.name).collect())
    }

    async fn switch_off(&self, destination: &str, reason: &str) -> Result<(), OutboxError> {
        let insert = sqlx::query(self.0.sql(OFF)).bind(destination).bind(reason);
        self.0.execute("switch_off", insert).await.map(drop)
    }
}

#[async_trait]
impl SwitchTable for PostgresSwitches {
    async fn list(&self) -> Result<Vec<SwitchedOff>, OutboxError> {
        let rows = self.0.fetch("off", sqlx::query(self.0.sql(LIST))).await?;
        let read = |row: &PgRow| {
            Ok(SwitchedOff {
                name: row.try_get(0)?,
                since: row.try_get::<PgTime, _>(1)?.0,
                reason: row.try_get(2)?,
            })
        };
        let read: sqlx::Result<Vec<SwitchedOff>> = rows.iter().map(read).collect();
        read.map_err(postgres_error("off"))
    }

    async fn switch_on(&self, destination: &str) -> Result<bool, OutboxError> {
        let delete = sqlx::query(self.0.sql(ON)).bind(destination);
        Ok(self.0.execute("switch_on", delete).await? > 0)
    }
}
