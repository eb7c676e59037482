//! The command on a real PostgreSQL server.

mod bad_input;
mod dead_letters;
mod demo;
mod doctor;
mod heap;
mod migrate;
mod pgbouncer;
mod relay;
mod stores;
mod url;

use crate::support::{blocking, command, done, json, quarantine_all, refused};
use outbox_core::{Event, EventId};
use outbox_store_postgres::sqlx::postgres::PgRow;
use outbox_store_postgres::sqlx::{self, AssertSqlSafe, Connection, PgConnection};
use outbox_store_postgres::{Appender, PostgresConfig, PostgresStore, Schema};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use test_servers::postgres::Database;

/// A schema whose name must be quoted and percent-encoded.
const ODD: &str = "My \"outbox\" & é?";
const ODD_PARAMETER: &str = "schema=My%20%22outbox%22%20%26%20%C3%A9%3F";

/// A database, a folder, and the store of the commands that run there.
pub(crate) struct Shop {
    database: Database,
    folder: TempDir,
    schema: Schema,
    pub(crate) url: String,
}

impl Shop {
    /// Without tables.
    pub(crate) fn empty() -> Self {
        let database = blocking(Database::create());
        Self {
            url: database.url(),
            database,
            folder: TempDir::new().unwrap(),
            schema: Schema::default(),
        }
    }

    pub(crate) fn migrated() -> Self {
        let shop = Self::empty();
        shop.done(&["migrate"]);
        shop
    }

    /// With its tables in a schema of an odd name.
    fn odd() -> Self {
        let mut shop = Self::empty();
        shop.schema = Schema::new(ODD).unwrap();
        shop.url = shop.url_with(ODD_PARAMETER);
        shop.done(&["migrate"]);
        shop
    }

    pub(crate) fn url_with(&self, parameter: &str) -> String {
        format!("{}&{parameter}", self.url)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        command(self.folder(), &self.on_store(arguments))
    }

    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        done(self.folder(), &self.on_store(arguments))
    }

    fn refused(&self, arguments: &[&str], code: i32, reasons: &[&str]) {
        refused(self.folder(), &self.on_store(arguments), code, reasons);
    }

    fn on_store<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [arguments, &["--store", &self.url]].concat()
    }

    /// A number of `outbox status`.
    fn status(&self, name: &str) -> Value {
        json(&self.done(&["status", "--json"]))[name].clone()
    }

    pub(crate) fn execute(&self, sql: &str) {
        blocking(self.database.execute(sql));
    }

    pub(crate) fn rows(&self, sql: &str) -> Vec<PgRow> {
        blocking(async {
            let mut connection = PgConnection::connect(&self.database.url()).await.unwrap();
            let query = sqlx::query(AssertSqlSafe(sql.to_owned()));
            query.fetch_all(&mut connection).await.unwrap()
        })
    }

    pub(crate) fn appended(&self, events: &[Event]) {
        blocking(async {
            let mut connection = PgConnection::connect(&self.database.url()).await.unwrap();
            Appender::new(&self.schema)
                .append(&mut connection, events)
                .await
                .unwrap();
        });
    }

    async fn open(&self) -> PostgresStore {
        let config = PostgresConfig::new(self.database.pool()).schema(self.schema.clone());
        PostgresStore::open(config).await.unwrap()
    }

    /// Appends events and quarantines all of them, each with the error.
    fn quarantined(&self, events: &[Event], error: &str) -> Vec<EventId> {
        self.appended(events);
        blocking(async { quarantine_all(&self.open().await, error).await });
        events.iter().map(|event| event.id).collect()
    }
}

/// The URL of the shop with a schema `played` that comes before `pg_catalog`.
pub(crate) fn played(shop: &Shop, object: &str) -> String {
    shop.execute("CREATE SCHEMA played");
    shop.execute(object);
    shop.url_with("options=-c%20search_path%3Dplayed,pg_catalog")
}

/// A role of the server, for a test's database. Its password is a word of no error.
pub(crate) struct Role<'a> {
    shop: &'a Shop,
    name: String,
}

const PASSWORD: &str = "hush-4711";

impl<'a> Role<'a> {
    fn new(shop: &'a Shop) -> Self {
        let name = format!("{}_role", shop.database.name());
        shop.execute(&format!(
            "CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'; REVOKE ALL ON SCHEMA public FROM PUBLIC"
        ));
        Self { shop, name }
    }

    /// One with all rights on the tables, and on the views of the server's sessions.
    pub(crate) fn with_rights(shop: &'a Shop) -> Self {
        let role = Self::new(shop);
        let name = &role.name;
        shop.execute(&format!(
            "GRANT pg_read_all_stats TO {name}; GRANT USAGE ON SCHEMA outbox TO {name}; \
             GRANT ALL ON ALL TABLES IN SCHEMA outbox TO {name}; \
             GRANT ALL ON ALL SEQUENCES IN SCHEMA outbox TO {name}; \
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA outbox TO {name}"
        ));
        role
    }

    /// Takes a right away.
    pub(crate) fn revoke(&self, right: &str) {
        self.shop
            .execute(&format!("REVOKE {right} FROM {}", self.name));
    }

    /// The URL of the shop's database for this role.
    pub(crate) fn url(&self) -> String {
        let options = &self.shop.database.options();
        let (host, port) = (options.get_host(), options.get_port());
        let database = self.shop.database.name();
        format!(
            "postgresql://{}:{PASSWORD}@{host}:{port}/{database}",
            self.name
        )
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        let drop = format!("DROP OWNED BY {name} CASCADE; DROP ROLE {name}");
        self.shop.execute(&drop);
    }
}
