//! The table in a SQLite file.

use super::{NAME, SwitchTable, SwitchedOff, TABLE};
use async_trait::async_trait;
use outbox_core::OutboxError;
use outbox_driver_sqlite::{Component, Driver, SqliteConfig, from_micros, micros};
use outbox_transport_http::Switches;
use std::time::SystemTime;

pub(crate) const COMPONENT: Component = Component {
    name: NAME,
    tables: &[TABLE],
    migrations: &[include_str!("sqlite.sql")],
    min_compatible: 1,
};

const LIST: &str = "SELECT name, since, reason FROM outbox_destinations_off ORDER BY name";
const OFF: &str = "INSERT INTO outbox_destinations_off (name, since, reason) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
const ON: &str = "DELETE FROM outbox_destinations_off WHERE name = ?";

#[derive(Debug)]
pub(crate) struct SqliteSwitches(Driver);

impl SqliteSwitches {
    pub(crate) async fn open(config: impl Into<SqliteConfig>) -> Result<Self, OutboxError> {
        COMPONENT.open(config).await.map(Self)
    }
}

#[async_trait]
impl Switches for SqliteSwitches {
    async fn off(&self) -> Result<Vec<String>, OutboxError> {
        let list = self.list().await?.into_iter();
        Ok(list.map(|off| off.name).collect())
    }

    async fn switch_off(&self, destination: &str, reason: &str) -> Result<(), OutboxError> {
        let row = (
            destination.to_owned(),
            micros(SystemTime::now()),
            reason.to_owned(),
        );
        let insert = self
            .0
            .execute("switch_off", move |connection| connection.execute(OFF, row));
        insert.await.map(drop)
    }
}

#[async_trait]
impl SwitchTable for SqliteSwitches {
    async fn list(&self) -> Result<Vec<SwitchedOff>, OutboxError> {
        let rows = self.0.fetch("off", |connection| {
            let mut statement = connection.prepare_cached(LIST)?;
            let rows = statement.query_map([], |row| {
                Ok(SwitchedOff {
                    name: row.get(0)?,
                    since: from_micros(row.get(1)?),
                    reason: row.get(2)?,
                })
            })?;
            rows.collect()
        });
        rows.await
    }

    async fn switch_on(&self, destination: &str) -> Result<bool, OutboxError> {
        let name = destination.to_owned();
        let delete = self.0.execute("switch_on", move |connection| {
            connection.execute(ON, [name])
        });
        Ok(delete.await? > 0)
    }
}
