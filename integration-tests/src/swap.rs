//! The programs of `examples/swap-backend`.

use outbox_core::{DeadLetterFilter, DeadLetters, Event, EventId};
use outbox_store_postgres::PostgresStore;
use outbox_store_postgres::sqlx::PgPool;
use outbox_store_sqlite::{SqliteStore, rusqlite};
use std::error::Error;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use test_servers::postgres::Database;
use test_servers::{Kind, Server, search_path};

/// What failed.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Runs the program of `package` in `examples/swap-backend`: it publishes in order, moves an event that
/// is always rejected to the quarantine, and ends at SIGINT.
///
/// # Errors
///
/// What a backend or the program refused.
///
/// # Panics
///
/// If the program does something else.
pub async fn relays(package: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("shop.db").display().to_string();
    let database = Database::create().await;
    let redis = Server::start(Kind::Redis, &search_path())?;
    let (shop, counts) = match package {
        "swap-sqlite" => (file.clone(), file),
        "swap-redis-heap" => (file, redis.url().to_owned()),
        "swap-postgres-heap" => (file, database.url()),
        "swap-postgres-store" => (database.url(), file),
        other => return Err(format!("the package is {other}, but must be one of four").into()),
    };
    let text = |number: u32| Event::new("order.placed", number.to_string()).ordering_key("leonie");
    let events = [text(1), Event::new("order.placed", vec![0xff]), text(2)];
    let store = append(&shop, &events).await?;

    let mut relay = start(package, &[&shop, &counts])?;
    let output = relay.0.stdout.take().ok_or("no output")?;
    let printed: Vec<String> = BufReader::new(output)
        .lines()
        .take(2)
        .collect::<std::result::Result<_, _>>()?;
    assert_eq!(printed, ["order.placed 1", "order.placed 2"]);
    let quarantined = wait_for_dead_letter(store.as_ref()).await?;
    assert_eq!(quarantined, events[1].id);

    let interrupt = Command::new("kill")
        .args(["-INT", &relay.0.id().to_string()])
        .status()?;
    assert!(interrupt.success());
    assert!(relay.0.wait()?.success());
    Ok(())
}

/// Appends as a producer does, and opens the store.
async fn append(shop: &str, events: &[Event]) -> Result<Box<dyn DeadLetters>> {
    if shop.starts_with("postgres") {
        let pool = PgPool::connect(shop).await?;
        let store = PostgresStore::migrate(pool.clone()).await?;
        // One statement, which is a transaction by itself.
        outbox_store_postgres::append(&mut *pool.acquire().await?, events).await?;
        return Ok(Box::new(store));
    }
    let store = SqliteStore::migrate(shop).await?;
    let mut connection = rusqlite::Connection::open(shop)?;
    let tx = connection.transaction()?;
    outbox_store_sqlite::append(&tx, events)?;
    tx.commit()?;
    Ok(Box::new(store))
}

/// The program, killed when the test ends early.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program, which Cargo builds before the tests of its package, into the folder above theirs.
fn start(package: &str, arguments: &[&str]) -> Result<Running> {
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(Path::parent).ok_or("no folder")?;
    let program = folder.join(package);
    let child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(Running(child))
}

async fn wait_for_dead_letter(store: &dyn DeadLetters) -> Result<EventId> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let listed = store.list(&DeadLetterFilter::all(), None, 10).await?;
        if let Some(first) = listed.first() {
            return Ok(first.id);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err("no event was quarantined within 60 s".into())
}
