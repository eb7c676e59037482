//! The bell: how a sleeping worker hears of a commit.
//!
//! A trigger rings once per INSERT statement, with NOTIFY, and only while `outbox_alarm` says that
//! workers sleep: a NOTIFY makes commits wait for each other. A worker that is woken for an event now
//! and then lets the alarm stand, as each change is a write; one that is busy turns it off for all:
//! it finds the events, and turns it on again before it sleeps. If it dies before, the others look
//! when their wait ends.

use crate::PostgresOutbox;
use outbox_core::OutboxError;
use outbox_driver_postgres::{Driver, interval};
use sqlx::postgres::{PgListener, PgPoolOptions, PgRow};
use sqlx::{PgPool, Row as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const WAIT: &str = "wait_for_work";

/// For how long a worker sets the alarm.
const SLEEP: Duration = Duration::from_secs(60);

/// Set again when less than this is left of it.
const REST: Duration = Duration::from_secs(30);

/// How long the listener waits before it connects again.
const PAUSE: Duration = Duration::from_secs(1);

/// Hears of commits through a connection of its own.
#[derive(Debug)]
pub(crate) struct Bell {
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
    /// Until when this worker set the alarm.
    asleep_until: Option<Instant>,
    /// Transactions below this may have appended before it was set.
    asleep_since: i64,
}

/// What can be heard from now on.
pub(crate) struct Rung {
    rings: watch::Receiver<Ring>,
    since: i64,
}

impl Rung {
    /// Whether nothing rang since `mark` was taken, which was while the alarm was set: what was seen
    /// after the mark is still good.
    pub(crate) fn is_quiet_since(&self, mark: Option<u64>) -> bool {
        let ring = *self.rings.borrow();
        ring.listening && mark == Some(ring.count)
    }

    pub(crate) fn is_listening(&self) -> bool {
        self.rings.borrow().listening
    }

    /// Whether a commit from now on is heard, if this is the oldest open transaction: older ones may
    /// have appended while the alarm was not set.
    pub(crate) fn hears(&self, oldest_open: i64) -> bool {
        self.is_listening() && oldest_open >= self.since
    }

    /// Returns at the next ring, or when the connection came or went.
    pub(crate) async fn wait(mut self) {
        if self.rings.changed().await.is_err() {
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
            channel,
            state: Mutex::default(),
            rings: watch::Sender::default(),
        }
    }

    /// Sets the alarm, unless this worker has set it already.
    pub(crate) async fn listen(&self, outbox: &PostgresOutbox) -> Result<Rung, OutboxError> {
        let mut rung = Rung {
            rings: self.rings.subscribe(),
            since: self.state().asleep_since,
        };
        let Some(channel) = &self.channel else {
            return Ok(rung);
        };
        self.start(outbox.driver.pool(), channel);
        let now = Instant::now();
        if rung.is_listening() && !self.is_asleep(now) {
            set(outbox, SLEEP).await?;
            let query = sqlx::query(outbox.statements.next_transaction.clone());
            let read = |row: &PgRow| row.try_get(0);
            rung.since = outbox.driver.fetch_one(WAIT, query, read).await?;
            let mut state = self.state();
            state.asleep_since = rung.since;
            state.asleep_until = Some(now + SLEEP);
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

    /// Turns the alarm off for a busy worker that had set it. That may fail: it is rung for then.
    pub(crate) async fn wake(&self, outbox: &PostgresOutbox) {
        if self.state().asleep_until.take().is_some() {
            let _ = set(outbox, Duration::ZERO).await;
        }
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

/// Has new events ring for `time` from now.
async fn set(outbox: &PostgresOutbox, time: Duration) -> Result<(), OutboxError> {
    let query = sqlx::query(outbox.statements.set_alarm.clone()).bind(interval(time));
    outbox.driver.execute(WAIT, query).await?;
    Ok(())
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
