//! A database for one test.

use crate::{Kind, url};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
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
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server: PgConnectOptions = url
            .parse()
            .unwrap_or_else(|error| panic!("the URL of the test server: {error}"));
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let time = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let name = format!("outbox_test_{}_{count}", time.as_nanos());
        create(&server, &name).await;
        let clock = lasting_pool(options(&server, &name), 1);
        let database = Self {
            server,
            name,
            clock,
        };
        database.execute(include_str!("sql/clock.sql")).await;
        database
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
        let moved = runtime().spawn(async move {
            let moved = sqlx::raw_sql(AssertSqlSafe(passed)).execute(&clock).await;
            moved.unwrap_or_else(|error| panic!("the clock of the test: {error}"));
        });
        moved.await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Closes all connections to the database, as a shutdown of the server does.
    pub async fn disconnect_all(&self) {
        let terminate = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
            self.name
        );
        run(&self.server, &terminate).await;
    }

    /// Copies the database with its clock, for [`restore`](Self::restore).
    pub async fn back_up(&self) {
        self.disconnect_all().await;
        let name = &self.name;
        run(
            &self.server,
            &format!("CREATE DATABASE {name}_copy TEMPLATE {name}"),
        )
        .await;
    }

    /// Replaces the database with the copy of [`back_up`](Self::back_up).
    pub async fn restore(&self) {
        let name = &self.name;
        run(&self.server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        run(
            &self.server,
            &format!("ALTER DATABASE {name}_copy RENAME TO {name}"),
        )
        .await;
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
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        // On a separate thread: a test cannot block on its own runtime.
        std::thread::scope(|scope| {
            scope.spawn(|| runtime().block_on(run(&self.server, &drop)));
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

async fn create(server: &PgConnectOptions, name: &str) {
    let connection = connect(server).await;
    // A copy of the files is made and dropped in half the time of a logged copy, the default of 15.
    let strategy = match connection.server_version_num() {
        Some(150_000..) => "STRATEGY file_copy",
        _ => "",
    };
    let sql = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' {strategy}");
    run_on(connection, &sql).await;
}

async fn run(options: &PgConnectOptions, sql: &str) {
    run_on(connect(options).await, sql).await;
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    let connected = options.connect().await;
    connected.unwrap_or_else(|error| panic!("no connection for a test's database: {error}"))
}

async fn run_on(mut connection: PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    connection
        .close()
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}
