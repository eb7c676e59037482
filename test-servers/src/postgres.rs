//! A database for one test, and a caller that goes away.

use crate::{Kind, Wire, url};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::{Duration, SystemTime};

/// A new database on the test server. Dropped after a success; after a failure it stays,
/// and says its name.
///
/// It panics when the server refuses: it is for tests only.
#[derive(Debug)]
pub struct Database {
    server: PgConnectOptions,
    name: String,
}

impl Database {
    /// An empty database in UTF-8.
    ///
    /// # Panics
    ///
    /// Without a server, with one line that says what to install or set.
    pub async fn create() -> Self {
        let url = url(Kind::Postgres).unwrap_or_else(|error| panic!("{error}"));
        Self::create_on(&url).await
    }

    /// As [`create`](Self::create), on the server at `url`.
    ///
    /// # Panics
    ///
    /// If the server refuses it.
    pub async fn create_on(url: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server: PgConnectOptions = url
            .parse()
            .unwrap_or_else(|error| panic!("the URL of the test server: {error}"));
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let time = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let name = format!("outbox_test_{}_{count}", time.as_nanos());
        let create = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'");
        run(&server, &create).await;
        let database = Self { server, name };
        database.execute(include_str!("sql/clock.sql")).await;
        database
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How to connect to it as the superuser, with the clock that [`elapse`](Self::elapse) moves.
    #[must_use]
    pub fn options(&self) -> PgConnectOptions {
        self.server
            .clone()
            .database(&self.name)
            .options([("search_path", "test_clock, pg_catalog, public")])
    }

    /// Its URL for another process, which has the server's own clock.
    #[must_use]
    pub fn url(&self) -> String {
        let database = self.server.clone().database(&self.name);
        database.to_url_lossy().into()
    }

    /// A separate pool, as another process would have.
    #[must_use]
    pub fn pool(&self) -> PgPool {
        self.pool_of(4)
    }

    /// As [`pool`](Self::pool), with at most so many connections. In a pool of one a caller waits
    /// for a connection that another caller does not give back.
    #[must_use]
    pub fn pool_of(&self, connections: u32) -> PgPool {
        pool(self.options(), connections)
    }

    /// A wire to its server.
    ///
    /// # Panics
    ///
    /// If no port is free for it.
    #[must_use]
    pub fn wire(&self) -> Wire {
        let server = (self.server.get_host(), self.server.get_port());
        Wire::to(server).unwrap_or_else(|error| panic!("no wire: {error}"))
    }

    /// As [`options`](Self::options), over a wire.
    #[must_use]
    pub fn options_over(&self, wire: &Wire) -> PgConnectOptions {
        self.options().host("127.0.0.1").port(wire.port())
    }

    /// As [`pool_of`](Self::pool_of), over a wire.
    #[must_use]
    pub fn pool_over(&self, wire: &Wire, connections: u32) -> PgPool {
        pool(self.options_over(wire), connections)
    }

    /// How to connect to it through a [PgBouncer](crate::Server::start_pgbouncer) at `url`, with the
    /// server's own clock.
    ///
    /// # Panics
    ///
    /// If the URL is none.
    #[must_use]
    pub fn options_through(&self, url: &str) -> PgConnectOptions {
        let options: PgConnectOptions = url
            .parse()
            .unwrap_or_else(|error| panic!("the URL of PgBouncer: {error}"));
        options.database(&self.name).extra_float_digits(None)
    }

    /// Moves `now()` on for all connections with these [`options`](Self::options).
    pub async fn elapse(&self, time: Duration) {
        let micros = time.as_micros();
        let passed = format!("UPDATE test_clock.passed SET time = time + '{micros} microseconds'");
        self.execute(&passed).await;
    }

    /// Ends all connections to it, as the server does when it is shut down.
    pub async fn disconnect_all(&self) {
        let terminate = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
            self.name
        );
        run(&self.server, &terminate).await;
    }

    /// Copies its current state, including its clock.
    pub async fn back_up(&self) {
        self.disconnect_all().await;
        let name = &self.name;
        run(
            &self.server,
            &format!("CREATE DATABASE {name}_copy TEMPLATE {name}"),
        )
        .await;
    }

    /// Puts the copy in its place.
    pub async fn restore(&self) {
        let name = &self.name;
        run(&self.server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        run(
            &self.server,
            &format!("ALTER DATABASE {name}_copy RENAME TO {name}"),
        )
        .await;
    }

    /// Runs SQL in it, as the superuser.
    ///
    /// # Panics
    ///
    /// If the server refuses it.
    pub async fn execute(&self, sql: &str) {
        run(&self.options(), sql).await;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the database of the failed test is {}", self.name);
            return;
        }
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        // On a separate thread: a test cannot block on its own runtime.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap_or_else(|error| panic!("no runtime: {error}"));
                runtime.block_on(run(&self.server, &drop));
            });
        });
    }
}

/// Polls `future` at most `polls` times, then drops it: a caller that goes away. Each number of
/// polls ends at another of its await points.
pub async fn given_up_after<F: Future>(mut polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

fn pool(options: PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .connect_lazy_with(options)
}

async fn run(options: &PgConnectOptions, sql: &str) {
    let refused = |error| panic!("{sql}: {error}");
    let mut connection: PgConnection = options.connect().await.unwrap_or_else(refused);
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    connection
        .close()
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}
