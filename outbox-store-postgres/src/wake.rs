//! The bell: how a sleeping worker hears of a commit.
//!
//! A trigger rings once per INSERT statement, with NOTIFY, and only while a worker's row in
//! `outbox_sleepers` says that it sleeps: a NOTIFY makes commits wait for each other. A worker that
//! is woken for an event now and then stays in there, as each change would be a commit of its own.

use crate::PostgresOutbox;
use outbox_core::OutboxError;
use outbox_driver_postgres::{Driver, PgUuid, interval};
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{PgPool, Row as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// For how long a worker says that it sleeps.
const SLEEP: Duration = Duration::from_secs(60);

/// Said again when less than this is left of it.
const REST: Duration = Duration::from_secs(30);

/// How long the listener waits before it connects again.
const PAUSE: Duration = Duration::from_secs(1);

/// Hears of commits through a connection of its own.
#[derive(Debug)]
pub(crate) struct Bell {
    worker: Uuid,
    channel: Option<String>,
    state: Mutex<State>,
    rings: watch::Sender<Ring>,
}

/// How often the bell rang, and whether it can be heard.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Ring {
    count: u64,
    listening: bool,
}

#[derive(Debug, Default)]
struct State {
    task: Option<JoinHandle<()>>,
    /// Until when the worker's row says that it sleeps.
    asleep_until: Option<Instant>,
}

/// What can be heard from now on.
pub(crate) struct Rung(watch::Receiver<Ring>);

impl Rung {
    /// Whether nothing rang since `mark` was taken, which was while the worker's row said that it
    /// sleeps: what was seen after the mark is still good.
    pub(crate) fn is_quiet_since(&self, mark: Option<u64>) -> bool {
        let ring = *self.0.borrow();
        ring.listening && mark == Some(ring.count)
    }

    pub(crate) fn is_listening(&self) -> bool {
        self.0.borrow().listening
    }

    /// Returns at the next ring, or when the connection came or went.
    pub(crate) async fn wait(mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Bell {
    /// A bell that is never heard.
    pub(crate) fn silent() -> Self {
        Self::on(None)
    }

    /// The bell of the outbox in the driver's schema. The channel is of its table.
    pub(crate) async fn new(driver: &Driver) -> Result<Self, OutboxError> {
        const OPEN: &str = "open";
        let table = format!("{}.outbox_events", driver.schema().quoted());
        let query = sqlx::query(include_str!("sql/channel.sql")).bind(table);
        let channel = driver.fetch_one(OPEN, query, |row| row.try_get(0)).await?;
        Ok(Self::on(Some(channel)))
    }

    fn on(channel: Option<String>) -> Self {
        Self {
            worker: Uuid::new_v4(),
            channel,
            state: Mutex::default(),
            rings: watch::Sender::default(),
        }
    }

    /// Says that the worker sleeps, if it does not say so yet.
    pub(crate) async fn listen(&self, outbox: &PostgresOutbox) -> Result<Rung, OutboxError> {
        let rung = Rung(self.rings.subscribe());
        let Some(channel) = &self.channel else {
            return Ok(rung);
        };
        self.start(outbox.driver.pool(), channel);
        let now = Instant::now();
        if rung.is_listening() && !self.is_asleep(now) {
            self.say(outbox, SLEEP).await?;
            self.state().asleep_until = Some(now + SLEEP);
        }
        Ok(rung)
    }

    /// To ask later whether the bell rang since: none while it would not ring.
    pub(crate) fn mark(&self) -> Option<u64> {
        let asleep = self.is_asleep(Instant::now());
        asleep.then(|| self.rings.borrow().count)
    }

    fn is_asleep(&self, now: Instant) -> bool {
        let until = self.state().asleep_until;
        until.is_some_and(|until| until > now + REST)
    }

    /// Says that a busy worker is awake, if it said that it sleeps. That may fail: it is rung for then.
    pub(crate) async fn wake(&self, outbox: &PostgresOutbox) {
        if self.state().asleep_until.take().is_some() {
            let _ = self.say(outbox, Duration::ZERO).await;
        }
    }

    async fn say(&self, outbox: &PostgresOutbox, time: Duration) -> Result<(), OutboxError> {
        let query = sqlx::query(outbox.statements.sleep.clone())
            .bind(PgUuid(self.worker))
            .bind(interval(time));
        outbox.driver.execute("wait_for_work", query).await?;
        Ok(())
    }

    fn start(&self, pool: &PgPool, channel: &str) {
        let mut state = self.state();
        if state.task.as_ref().is_none_or(JoinHandle::is_finished) {
            let listener = listen(pool.clone(), channel.to_owned(), self.rings.clone());
            state.task = Some(tokio::spawn(listener));
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        if let Some(task) = self.state().task.take() {
            task.abort();
        }
    }
}

/// Listens until the bell is dropped, on a connection that is not of the caller's pool.
async fn listen(pool: PgPool, channel: String, rings: watch::Sender<Ring>) {
    let own = PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy_with((*pool.connect_options()).clone());
    loop {
        if let Err(error) = hear(&own, &channel, &rings).await {
            tracing::warn!(%error, "cannot listen for new events; looking for them instead");
        }
        rings.send_modify(|ring| ring.listening = false);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn hear(
    pool: &PgPool,
    channel: &str,
    rings: &watch::Sender<Ring>,
) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(channel).await?;
    rings.send_modify(|ring| {
        *ring = Ring {
            count: ring.count + 1,
            listening: true,
        }
    });
    // None when the connection is lost.
    while listener.try_recv().await?.is_some() {
        rings.send_modify(|ring| ring.count += 1);
    }
    Ok(())
}
