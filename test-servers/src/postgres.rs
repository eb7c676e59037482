//! A database for one test.

use crate::{Kind, url};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgPool};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::runtime::{Builder, Runtime};

/// A new database on the test server. It is removed after a success. After a failure it is kept and
/// its name is printed.
///
/// Each method panics if the server returns an error.
#[derive(Debug)]
pub struct Database {
    server: PgConnectOptions,
    name: String,
    /// Its connection moves the clock, and is used on the shared [`runtime`] only.
    clock: PgPool,
}

impl Database {
    /// Creates an empty database in UTF-8.
    ///
    /// # Panics
    ///
    /// If no server can be used. The message says what to install or which variable to set.
    pub async fn create() -> Self {
        let url = url(Kind::Postgres).unwrap_or_else(|error| panic!("{error}"));
        Self::create_on(&url).await
    }

    /// As [`create`](Self::create), on the server at `url`.
    ///
    /// # Panics
    ///
    /// If the server returns an error.
    pub async fn create_on(url: &str) -> Self {
        Self::create_with(url, "").await
    }

    /// As [`create_on`](Self::create_on), with all that `script` creates. The script runs once in a
    /// template, and each database is a copy of it, which takes a fraction of the time. The template
    /// stays on the server until a test needs one after a restart of the server.
    ///
    /// # Panics
    ///
    /// If the server returns an error.
    pub async fn create_with(url: &str, script: &str) -> Self {
        let server: PgConnectOptions = url
            .parse()
            .unwrap_or_else(|error| panic!("the URL of the test server: {error}"));
        let template = template(&server, script).await;
        let name = new_name("outbox_test");
        copy(&server, &template, &name).await;
        Self {
            clock: lasting_pool(options(&server, &name), 1),
            server,
            name,
        }
    }

    /// The name of the database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Options for connections as the superuser. `now()` is the clock that [`elapse`](Self::elapse) moves.
    #[must_use]
    pub fn options(&self) -> PgConnectOptions {
        options(&self.server, &self.name)
    }

    /// Its URL for another process. There `now()` is the clock of the server.
    #[must_use]
    pub fn url(&self) -> String {
        let database = self.server.clone().database(&self.name);
        database.to_url_lossy().into()
    }

    /// A separate pool of up to 4 connections, as another process would have.
    #[must_use]
    pub fn pool(&self) -> PgPool {
        self.pool_of(4)
    }

    /// As [`pool`](Self::pool), with up to `connections`. In a pool of one connection a call waits
    /// for ever if another call does not return the connection.
    #[must_use]
    pub fn pool_of(&self, connections: u32) -> PgPool {
        pool(self.options(), connections)
    }

    /// Host and port of its server, for a proxy.
    #[must_use]
    pub fn address(&self) -> (&str, u16) {
        (self.server.get_host(), self.server.get_port())
    }

    /// As [`options`](Self::options), through a proxy at `port` of 127.0.0.1.
    #[must_use]
    pub fn options_over(&self, port: u16) -> PgConnectOptions {
        self.options().host("127.0.0.1").port(port)
    }

    /// As [`pool_of`](Self::pool_of), through a proxy at `port` of 127.0.0.1.
    #[must_use]
    pub fn pool_over(&self, port: u16, connections: u32) -> PgPool {
        pool(self.options_over(port), connections)
    }

    /// Options for connections through a [PgBouncer](crate::Server::start_pgbouncer) at `url`. There
    /// `now()` is the clock of the server.
    ///
    /// # Panics
    ///
    /// If `url` is not a URL.
    #[must_use]
    pub fn options_through(&self, url: &str) -> PgConnectOptions {
        let options: PgConnectOptions = url
            .parse()
            .unwrap_or_else(|error| panic!("the URL of PgBouncer: {error}"));
        options.database(&self.name).extra_float_digits(None)
    }

    /// Moves `now()` forward for all connections with [`options`](Self::options).
    ///
    /// # Panics
    ///
    /// If the server returns an error.
    pub async fn elapse(&self, time: Duration) {
        let micros = time.as_micros();
        let passed = format!("UPDATE test_clock.passed SET time = time + '{micros} microseconds'");
        let clock = self.clock.clone();
        // A new connection for each step would cost a test more than all that it tests.
        on_runtime(async move { clock.execute(AssertSqlSafe(passed)).await }).await;
    }

    /// Counts the statements that insert into `table` from now on: see [`inserts`](Self::inserts).
    ///
    /// # Panics
    ///
    /// If the server returns an error.
    pub async fn count_inserts(&self, table: &str) {
        let count = format!(
            "CREATE TRIGGER count_insert BEFORE INSERT ON {table}
             FOR EACH STATEMENT EXECUTE FUNCTION public.count_insert()"
        );
        let count = [include_str!("sql/inserts.sql"), &count].concat();
        self.execute(&count).await;
    }

    /// How many statements have inserted since [`count_inserts`](Self::count_inserts), also those that were
    /// refused or rolled back.
    ///
    /// # Panics
    ///
    /// If the server returns an error.
    pub async fn inserts(&self) -> u64 {
        let pool = self.clock.clone();
        let count = sqlx::query_scalar("SELECT last_value FROM public.inserts");
        let count: i64 = on_runtime(async move { count.fetch_one(&pool).await }).await;
        count.unsigned_abs()
    }

    /// Closes all connections to the database, as a shutdown of the server does, and waits for their end.
    pub async fn disconnect_all(&self) {
        disconnect_all(&self.server, &self.name).await;
    }

    /// Copies the database with its clock, for [`restore`](Self::restore).
    pub async fn back_up(&self) {
        self.disconnect_all().await;
        copy(&self.server, &self.name, &format!("{}_copy", self.name)).await;
    }

    /// Replaces the database with the copy of [`back_up`](Self::back_up).
    pub async fn restore(&self) {
        let name = &self.name;
        drop_database(&self.server, name).await;
        let rename = format!("ALTER DATABASE {name}_copy RENAME TO {name}");
        administer(&self.server, rename).await;
    }

    /// Runs SQL as the superuser.
    ///
    /// # Panics
    ///
    /// If the server returns an error.
    pub async fn execute(&self, sql: &str) {
        run(&self.options(), sql).await;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the data of the failed test is in the database {}",
                self.name
            );
            return;
        }
        // On a separate thread: a test cannot block on its own runtime.
        std::thread::scope(|scope| {
            scope.spawn(|| runtime().block_on(drop_database(&self.server, &self.name)));
        });
    }
}

/// A runtime that outlives those of the tests, for connections that more than one of these use.
///
/// # Panics
///
/// If no thread can be started.
#[must_use]
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        runtime.unwrap_or_else(|error| panic!("no runtime: {error}"))
    })
}

/// A pool for use on the [`runtime`].
#[must_use]
pub fn lasting_pool(options: PgConnectOptions, connections: u32) -> PgPool {
    let _entered = runtime().enter();
    pool(options, connections)
}

fn options(server: &PgConnectOptions, name: &str) -> PgConnectOptions {
    let path = ("search_path", "test_clock, pg_catalog, public");
    server.clone().database(name).options([path])
}

fn pool(options: PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .connect_lazy_with(options)
}

/// A name that no other process and no other call uses.
fn new_name(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let time = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    format!("{prefix}_{}_{count}", time.as_nanos())
}

/// The name of a database with the clock and what `script` creates. It is made if it is not there.
async fn template(server: &PgConnectOptions, script: &str) -> String {
    let script = [include_str!("sql/clock.sql"), script].concat();
    // The tables may keep the start of the server, so a template is used until the next start.
    let find = "SELECT prefix || left(md5($1), 16) AS name, prefix
                FROM pg_postmaster_start_time() AS started,
                     format('outbox_template_%s_', (extract(epoch FROM started) * 1000000)::bigint) AS prefix";
    let find = format!(
        "SELECT name, name IN (SELECT datname FROM pg_database), prefix FROM ({find}) AS t"
    );
    let (pool, text) = (administrator(server), script.clone());
    let found = on_runtime(async move {
        let found = sqlx::query_as(AssertSqlSafe(find))
            .bind(text)
            .fetch_one(&pool);
        found.await
    });
    let (name, is_there, prefix): (String, bool, String) = found.await;
    if !is_there {
        drop_templates(server, &prefix).await;
        make_template(server, &name, &script).await;
    }
    name
}

async fn make_template(server: &PgConnectOptions, name: &str, script: &str) {
    let draft = new_name("outbox_draft");
    copy(server, "template0", &draft).await;
    run(&options(server, &draft), script).await;
    // Without connections nothing in it changes, and nothing delays a copy.
    let close = format!("ALTER DATABASE {draft} ALLOW_CONNECTIONS false");
    administer(server, close).await;
    let pool = administrator(server);
    let rename = format!("ALTER DATABASE {draft} RENAME TO {name}");
    let renamed = on_runtime(async move { Ok(pool.execute(AssertSqlSafe(rename)).await) }).await;
    if renamed.is_err() {
        // Another process made the same template at the same time, or else the copy of it fails.
        drop_database(server, &draft).await;
    }
}

/// Removes the templates of earlier starts of the server. Their names have another prefix.
async fn drop_templates(server: &PgConnectOptions, prefix: &str) {
    let find = "SELECT datname::text FROM pg_database
                WHERE starts_with(datname, 'outbox_template_') AND NOT starts_with(datname, $1)";
    let (pool, prefix) = (administrator(server), prefix.to_owned());
    let old = on_runtime(async move {
        let old = sqlx::query_scalar(find).bind(prefix).fetch_all(&pool);
        old.await
    });
    let old: Vec<String> = old.await;
    for name in old {
        let drop = format!("DROP DATABASE IF EXISTS {name}");
        administer(server, drop).await;
    }
}

async fn copy(server: &PgConnectOptions, from: &str, name: &str) {
    let pool = administrator(server);
    let create = format!("CREATE DATABASE {name} TEMPLATE {from} ENCODING 'UTF8'");
    on_runtime(async move {
        let mut connection = pool.acquire().await?;
        // A copy of the files is made and dropped in half the time of a logged copy, the default of 15.
        let strategy = match connection.server_version_num() {
            Some(150_000..) => "STRATEGY file_copy",
            _ => "",
        };
        let create = format!("{create} {strategy}");
        connection.execute(AssertSqlSafe(create)).await
    })
    .await;
}

async fn disconnect_all(server: &PgConnectOptions, name: &str) {
    let terminate = format!(
        "DO $$ DECLARE ended integer[];
        BEGIN
            SELECT array_agg(pid) INTO ended FROM pg_stat_activity WHERE datname = '{name}';
            PERFORM pg_terminate_backend(pid) FROM unnest(ended) AS pid;
            FOR turn IN 1..10000 LOOP
                IF NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY (ended)) THEN
                    RETURN;
                END IF;
                PERFORM pg_sleep(0.002), pg_stat_clear_snapshot();
            END LOOP;
            RAISE EXCEPTION 'connections to {name} did not end';
        END $$"
    );
    administer(server, terminate).await;
}

async fn drop_database(server: &PgConnectOptions, name: &str) {
    // DROP DATABASE looks only every 100 ms whether the last connection has ended, so it must not find any.
    // FORCE ends those of clients that connect again.
    disconnect_all(server, name).await;
    administer(server, format!("DROP DATABASE {name} WITH (FORCE)")).await;
}

/// A pool of the process for databases that are created and dropped, for use on the [`runtime`].
fn administrator(server: &PgConnectOptions) -> PgPool {
    static POOLS: Mutex<Option<HashMap<String, PgPool>>> = Mutex::new(None);
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    let pools = pools.get_or_insert_default();
    let pool = pools
        .entry(server.to_url_lossy().into())
        .or_insert_with(|| lasting_pool(server.clone(), 2));
    pool.clone()
}

/// Runs a statement on the server.
async fn administer(server: &PgConnectOptions, sql: String) {
    let pool = administrator(server);
    on_runtime(async move { pool.execute(AssertSqlSafe(sql)).await }).await;
}

/// What the future returns on the [`runtime`].
async fn on_runtime<T: Send + 'static>(
    future: impl Future<Output = sqlx::Result<T>> + Send + 'static,
) -> T {
    let ended = runtime().spawn(future).await;
    let result = ended.unwrap_or_else(|error| panic!("{error}"));
    result.unwrap_or_else(|error| panic!("a test's database: {error}"))
}

async fn run(options: &PgConnectOptions, sql: &str) {
    let connected = options.connect().await;
    let mut connection =
        connected.unwrap_or_else(|error| panic!("no connection for a test's database: {error}"));
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    connection
        .close()
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}
