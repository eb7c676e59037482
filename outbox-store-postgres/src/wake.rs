//! The bell: how a commit wakes a sleeping worker.
//!
//! A trigger sends one NOTIFY for each INSERT statement, but only while `outbox_alarm` says that a
//! worker sleeps, because commits that notify wait for each other. A worker that is woken by an
//! occasional event leaves the alarm on, because each change of it is a write. A busy worker turns it
//! off for all workers: it finds the events, and turns the alarm on again before it sleeps. If it dies
//! first, the other workers look when their wait ends.

use crate::PostgresStore;
use outbox_core::{ClaimToken, ErrorKind, OutboxError};
use outbox_driver_postgres::{Driver, interval, postgres_error};
use sqlx::postgres::{PgListener, PgPoolOptions, PgRow};
use sqlx::{Executor as _, Row as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const WAIT: &str = "wait_for_work";

/// How long an alarm lasts.
const SLEEP: Duration = Duration::from_secs(60);

/// An alarm that ends sooner than this is set again.
const REST: Duration = Duration::from_secs(30);

/// How long the listener waits before it connects again.
const PAUSE: Duration = Duration::from_secs(1);

/// The same, if notifications do not arrive although the connection works.
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// How often the listener checks that its connection leads to the server of the pool.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How long the listener waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Listens for commits on a separate connection.
#[derive(Debug)]
pub(crate) struct Bell {
    channel: Option<String>,
    state: Mutex<State>,
    rings: watch::Sender<Ring>,
}

/// How often the bell rang, and whether this handle listens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Ring {
    count: u64,
    listening: bool,
}

#[derive(Debug, Default)]
struct State {
    task: Option<JoinHandle<()>>,
    /// When the alarm ends that this worker set.
    asleep_until: Option<Instant>,
    /// Transactions with a smaller id may have appended before the alarm was set.
    asleep_since: i64,
}

/// The rings from one moment on.
pub(crate) struct Rung {
    rings: watch::Receiver<Ring>,
    /// Commits of this transaction and of later ones ring.
    since: i64,
}

impl Rung {
    /// Whether the alarm was set when `mark` was taken, and nothing rang since. Then an outlook that was
    /// read after the mark is still valid.
    pub(crate) fn is_quiet_since(&self, mark: Option<u64>) -> bool {
        let ring = *self.rings.borrow();
        ring.listening && mark == Some(ring.count)
    }

    pub(crate) fn is_listening(&self) -> bool {
        self.rings.borrow().listening
    }

    /// Whether each later commit rings, if `oldest_open` is the oldest open transaction. An older one may
    /// have appended while the alarm was not set.
    pub(crate) fn hears(&self, oldest_open: i64) -> bool {
        self.is_listening() && oldest_open >= self.since
    }

    /// Returns at the next ring, or when the connection is lost or made.
    pub(crate) async fn wait(mut self) {
        if self.rings.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Bell {
    /// A bell without a listener: the worker polls.
    pub(crate) fn silent() -> Self {
        Self::on(None)
    }

    /// The bell of the outbox in the driver's schema.
    pub(crate) async fn new(driver: &Driver) -> Result<Self, OutboxError> {
        const OPEN: &str = "open";
        let table = format!("{}.outbox_events", driver.schema().quoted());
        let query = sqlx::query(include_str!("sql/channel.sql")).bind(table);
        let channel = driver.fetch_one(OPEN, query, |row| row.try_get(0)).await?;
        Ok(Self::on(Some(channel)))
    }

    fn on(channel: Option<String>) -> Self {
        Self {
            channel,
            state: Mutex::default(),
            rings: watch::Sender::default(),
        }
    }

    /// Sets the alarm, unless this worker has set it already.
    pub(crate) async fn listen(&self, store: &PostgresStore) -> Result<Rung, OutboxError> {
        let mut rung = Rung {
            rings: self.rings.subscribe(),
            since: self.state().asleep_since,
        };
        let Some(channel) = &self.channel else {
            return Ok(rung);
        };
        self.start(&store.driver, channel);
        let now = Instant::now();
        if rung.is_listening() && !self.is_asleep(now) {
            set(store, WAIT, SLEEP).await?;
            let query = sqlx::query(store.statements().next_transaction.clone());
            let read = |row: &PgRow| row.try_get(0);
            rung.since = store.driver.fetch_one(WAIT, query, read).await?;
            let mut state = self.state();
            state.asleep_since = rung.since;
            state.asleep_until = Some(now + SLEEP);
        }
        Ok(rung)
    }

    /// A mark, to ask later whether the bell rang since. None if the alarm is not set.
    pub(crate) fn mark(&self) -> Option<u64> {
        let asleep = self.is_asleep(Instant::now());
        asleep.then(|| self.rings.borrow().count)
    }

    fn is_asleep(&self, now: Instant) -> bool {
        let until = self.state().asleep_until;
        until.is_some_and(|until| until > now + REST)
    }

    /// Turns the alarm off, if this worker had set it and is busy now. If that fails, commits ring
    /// without need until the alarm ends.
    pub(crate) async fn wake(&self, operation: &'static str, store: &PostgresStore) {
        if self.state().asleep_until.take().is_some() {
            let _ = set(store, operation, Duration::ZERO).await;
        }
    }

    fn start(&self, driver: &Driver, channel: &str) {
        let mut state = self.state();
        if state.task.as_ref().is_none_or(JoinHandle::is_finished) {
            let listener = listen(driver.clone(), channel.to_owned(), self.rings.clone());
            state.task = Some(tokio::spawn(listener));
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets commits ring for `time` from now.
async fn set(
    store: &PostgresStore,
    operation: &'static str,
    time: Duration,
) -> Result<(), OutboxError> {
    let query = sqlx::query(store.statements().set_alarm.clone()).bind(interval(time));
    store.driver.execute(operation, query).await?;
    Ok(())
}

impl Drop for Bell {
    fn drop(&mut self) {
        if let Some(task) = self.state().task.take() {
            task.abort();
        }
    }
}

/// Listens until the bell is dropped, on a connection outside of the caller's pool.
async fn listen(driver: Driver, channel: String, rings: watch::Sender<Ring>) {
    loop {
        let heard = hear(&driver, &channel, &rings).await;
        rings.send_modify(|ring| ring.listening = false);
        let pause = match heard {
            Ok(true) => PAUSE,
            Ok(false) => {
                tracing::warn!(
                    "notifications do not arrive, as through PgBouncer in transaction mode; polling \
                     for new events instead"
                );
                LONG_PAUSE
            }
            Err(error) => {
                tracing::warn!(
                    %error,
                    "cannot listen for new events; polling for them instead"
                );
                PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Listens until the connection is lost. Returns false if notifications do not arrive.
async fn hear(
    driver: &Driver,
    channel: &str,
    rings: &watch::Sender<Ring>,
) -> Result<bool, OutboxError> {
    let error = postgres_error(WAIT);
    // A pool for this connection alone, so that the next one resolves the name of the server again.
    let own = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(PATIENCE)
        .connect_lazy_with((*driver.pool().connect_options()).clone());
    let mut listener = PgListener::connect_with(&own).await.map_err(&error)?;
    listener.eager_reconnect(false);
    let probe = format!("{channel}_probe");
    in_time(listener.listen_all([channel, probe.as_str()])).await?;
    if !hears_itself(driver, &mut listener, &probe).await? {
        return Ok(false);
    }
    rings.send_modify(|ring| {
        *ring = Ring {
            count: ring.count + 1,
            listening: true,
        }
    });
    loop {
        match tokio::time::timeout(HEARTBEAT, listener.try_recv()).await {
            Ok(heard) => match heard.map_err(&error)? {
                Some(heard) if heard.channel() == channel => {
                    rings.send_modify(|ring| ring.count += 1);
                }
                Some(_) => {}
                // The connection is lost.
                None => return Ok(true),
            },
            Err(_) => beat(driver, &mut listener).await?,
        }
    }
}

/// Whether a notification that the pool sends arrives. It does not if a proxy gives each transaction
/// another connection, or if the pool leads to another server.
async fn hears_itself(
    driver: &Driver,
    listener: &mut PgListener,
    probe: &str,
) -> Result<bool, OutboxError> {
    let text = ClaimToken::new().as_uuid().to_string();
    let query = sqlx::query(include_str!("sql/probe.sql"))
        .bind(probe)
        .bind(text.clone());
    driver.fetch(WAIT, query).await?;
    let heard = tokio::time::timeout(PATIENCE, async {
        loop {
            match listener.try_recv().await? {
                Some(heard) if heard.channel() == probe && heard.payload() == text => {
                    return Ok(true);
                }
                Some(_) => {}
                None => return Ok(false),
            }
        }
    });
    heard
        .await
        .unwrap_or(Ok(false))
        .map_err(postgres_error(WAIT))
}

/// Fails if the connection does not answer, or leads to another server than the pool.
async fn beat(driver: &Driver, listener: &mut PgListener) -> Result<(), OutboxError> {
    const WHICH: &str = include_str!("sql/which_server.sql");
    let row = in_time(listener.fetch_one(WHICH)).await?;
    let here: String = row.try_get(0).map_err(postgres_error(WAIT))?;
    let read = |row: &PgRow| row.try_get(0);
    let there: String = driver.fetch_one(WAIT, sqlx::query(WHICH), read).await?;
    if here == there {
        return Ok(());
    }
    let text = format!(
        "the listener is connected to the server started {here}, but the pool to the one started {there}"
    );
    Err(OutboxError::new(ErrorKind::Unavailable, "postgres", WAIT).with_source(text))
}

/// The answer of the server, or an error if it takes too long.
async fn in_time<T>(answer: impl Future<Output = sqlx::Result<T>>) -> Result<T, OutboxError> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(postgres_error(WAIT)),
        Err(late) => {
            Err(OutboxError::new(ErrorKind::Unavailable, "postgres", WAIT).with_source(late))
        }
    }
}
