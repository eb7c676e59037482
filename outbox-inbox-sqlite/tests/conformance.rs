//! The SQLite inbox passes the suite: in a file, and in the memory of the process.

use async_trait::async_trait;
use outbox_conformance::Folder;
use outbox_conformance::inbox::{End, Inbox, InboxFixture};
use outbox_core::{EventId, OutboxError};
use outbox_inbox_sqlite::rusqlite::{Connection, TransactionBehavior};
use outbox_inbox_sqlite::{SqliteConfig, SqliteInbox, memory_uri};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::spawn_blocking;

const PATIENCE: Duration = Duration::from_secs(60);

struct Fixture {
    config: SqliteConfig,
    /// For connections of the application.
    uri: String,
    /// A database in memory lives as long as it has a connection.
    connection: Mutex<Connection>,
    _folder: Option<Folder>,
}

impl Fixture {
    fn in_a_file() -> Self {
        let folder = Folder::new();
        let path = folder.path().join("billing.db");
        let uri = path.to_string_lossy().into_owned();
        Self::new(SqliteConfig::new(path), uri, Some(folder))
    }

    fn in_memory() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("inbox{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let uri = memory_uri(&name).expect("a name");
        let config = SqliteConfig::in_memory(&name);
        Self::new(config, uri, None)
    }

    fn new(config: SqliteConfig, uri: String, folder: Option<Folder>) -> Self {
        let connection = connect(&uri);
        let work = "CREATE TABLE work (consumer TEXT, event_id TEXT)";
        connection.execute(work, []).expect("created");
        Self {
            config: config.busy_timeout(PATIENCE).call_timeout(PATIENCE),
            uri,
            connection: connection.into(),
            _folder: folder,
        }
    }
}

fn connect(uri: &str) -> Connection {
    let connection = Connection::open(uri).expect("opened");
    connection.busy_timeout(PATIENCE).expect("set");
    connection
}

struct Handle {
    inbox: SqliteInbox,
    consumer: String,
    uri: String,
}

#[async_trait]
impl Inbox for Handle {
    async fn deliver(&self, id: EventId, end: End) -> Result<bool, OutboxError> {
        let (inbox, consumer) = (self.inbox.clone(), self.consumer.clone());
        let uri = self.uri.clone();
        // On a separate thread, because it waits for the locks of other connections.
        let delivery = spawn_blocking(move || {
            let mut connection = connect(&uri);
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .expect("begun");
            let is_new = inbox.accept(&transaction, id)?;
            if is_new {
                let work = "INSERT INTO work VALUES (?1, ?2)";
                transaction
                    .execute(work, [consumer, id.to_string()])
                    .expect("inserted");
            }
            let ended = match end {
                End::Commit => transaction.commit(),
                End::RollBack => transaction.rollback(),
            };
            ended.expect("ended");
            Ok(is_new)
        });
        delivery.await.expect("no panic")
    }

    async fn clean_up(&self, retention: Duration, limit: usize) -> Result<usize, OutboxError> {
        self.inbox.clean_up(retention, limit).await
    }
}

#[async_trait]
impl InboxFixture for Fixture {
    async fn handle(&self, consumer: &str) -> Arc<dyn Inbox> {
        let inbox = SqliteInbox::migrate(self.config.clone(), consumer).await;
        Arc::new(Handle {
            inbox: inbox.expect("migrated"),
            consumer: consumer.to_owned(),
            uri: self.uri.clone(),
        })
    }

    async fn work(&self, consumer: &str, id: EventId) -> usize {
        let count = "SELECT count(*) FROM work WHERE consumer = ?1 AND event_id = ?2";
        let connection = self.connection.lock().expect("no panic");
        let counted: i64 = connection
            .query_row(count, [consumer, &id.to_string()], |row| row.get(0))
            .expect("counted");
        usize::try_from(counted).expect("a count")
    }

    async fn elapse(&self, time: Duration) {
        let micros = i64::try_from(time.as_micros()).expect("in range");
        let connection = self.connection.lock().expect("no panic");
        let age = "UPDATE outbox_inbox SET accepted_at = accepted_at - ?1";
        connection.execute(age, [micros]).expect("aged");
    }
}

outbox_conformance::inbox_suite!(file, Fixture::in_a_file(), delivery, clean_up, cancellation,);
outbox_conformance::inbox_suite!(
    memory,
    Fixture::in_memory(),
    delivery,
    clean_up,
    cancellation,
);
