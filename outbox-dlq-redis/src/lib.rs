#![doc = include_str!("../README.md")]

mod config;
mod connection;
mod error;
mod keys;
mod login;
mod reply;
mod scripts;
mod server;

use async_trait::async_trait;
use connection::{Call, Link};
use error::BACKEND;
use keys::Keys;
use outbox_core::{
    DlqEntry, DlqHeap, ErrorKind, ErrorText, EventId, FailedAttempt, HeapSize, OutboxError,
};
use redis::{FromRedisValue, Script, ScriptInvocation, cmd};
use reply::{Entries, Page, Place, Size};
use scripts::Scripts;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;

pub use config::RedisConfig;
pub use redis;
pub use server::{ClockShift, Server};

/// The most entries that one script returns, so that other clients of the server do not wait for
/// long. Measured in the README.
const PAGE: usize = 100;

/// The most failures or ids that one script takes.
const BATCH: usize = 1000;

/// A dead-letter heap in five keys of a Redis server. Clones share the connection.
///
/// # Cancel safety
///
/// Each page of 100 entries is one script, which is applied whole or not at all, and a single success
/// is one command. A call whose future is dropped was applied up to some page; what a dropped drain
/// took out is gone.
#[derive(Clone, Debug)]
pub struct RedisDlqHeap {
    link: Arc<Link>,
    keys: Keys,
    scripts: Arc<Scripts>,
    shift: ClockShift,
    /// How many members the last warning reported as set aside, so that not every call repeats it.
    aside: Arc<AtomicU64>,
    /// Set when the server has answered what [`check`](RedisDlqHeap::check) asks.
    checked: Arc<OnceCell<()>>,
}

impl RedisDlqHeap {
    /// Opens the heap of a namespace. There are no tables, so nothing is migrated before. Warns through
    /// `tracing` if the server may evict the heap's keys.
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) for a namespace, a login or a server that cannot be
    /// used. [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the server cannot be reached.
    /// If the config is [lazy](RedisConfig::lazy), only the namespace is checked.
    pub async fn open(config: impl Into<RedisConfig>) -> Result<Self, OutboxError> {
        let config = config.into();
        let heap = Self {
            keys: Keys::new(&config.namespace)?,
            link: Arc::new(Link::new(config.server, config.call_timeout)),
            scripts: Arc::default(),
            shift: ClockShift::default(),
            aside: Arc::default(),
            checked: Arc::default(),
        };
        if !config.is_lazy {
            heap.check().await?;
        }
        Ok(heap)
    }

    /// Does what [`open`](Self::open) does, so that a program can swap its heap in one line.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub async fn migrate(config: impl Into<RedisConfig>) -> Result<Self, OutboxError> {
        Self::open(config).await
    }

    /// Asks the server what [`open`](Self::open) asks: that it answers, that it is not a replica, and, with a
    /// warning, whether it may evict the heap's keys. Asks nothing if it has been answered before.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn check(&self) -> Result<(), OutboxError> {
        self.link.within("check", self.checked()).await
    }

    async fn checked(&self) -> Result<(), OutboxError> {
        let asked = async || {
            if let Some(policy) = self.policy().await? {
                tracing::warn!(
                    policy,
                    keys = %self.keys,
                    "the server may evict the heap's keys, and counts would start again: \
                     set maxmemory-policy to noeviction or to one of volatile-*"
                );
            }
            Ok(())
        };
        self.checked.get_or_try_init(asked).await.copied()
    }

    /// The `maxmemory-policy` of the server, if it lets the heap's keys be evicted: one of
    /// `allkeys-*`, with a limit to the memory. The heap's keys never expire, so `volatile-*` does
    /// not.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn eviction_policy(&self) -> Result<Option<String>, OutboxError> {
        self.link.within("check", self.policy()).await
    }

    async fn policy(&self) -> Result<Option<String>, OutboxError> {
        let mut server = self.scripts.server.prepare_invoke();
        server.key(self.keys.all());
        let told: String = self.link.run("check", &Call::Script(server)).await?;
        if reply::is_replica(&told) {
            self.link.disconnect().await;
            let error = OutboxError::new(ErrorKind::Unavailable, BACKEND, "check");
            return Err(error.with_source("the server is a replica, which cannot be written to"));
        }
        Ok(reply::evicting(&told))
    }

    /// Moves the heap's clock on, for tests: leases run out and entries grow old without waiting.
    #[must_use]
    pub fn with_clock_shift(mut self, shift: ClockShift) -> Self {
        self.shift = shift;
        self
    }

    /// A call of a script that asks for the time.
    fn call<'s>(&self, script: &'s Script) -> ScriptInvocation<'s> {
        let mut call = script.prepare_invoke();
        call.key(self.keys.all()).arg(self.shift.micros());
        call
    }

    async fn run<T: FromRedisValue>(
        &self,
        operation: &'static str,
        call: &Call<'_>,
    ) -> Result<T, OutboxError> {
        let work = async {
            self.checked().await?;
            self.link.run(operation, call).await
        };
        self.link.within(operation, work).await
    }

    /// For what does not look for a key of another type: if one was in the way, it is asked for and
    /// named.
    async fn write<T: FromRedisValue>(
        &self,
        operation: &'static str,
        call: &Call<'_>,
    ) -> Result<T, OutboxError> {
        let result = self.run(operation, call).await;
        if let Err(error) = &result
            && error.kind() == ErrorKind::Corrupt
        {
            let size = Call::Script(self.call(&self.scripts.size));
            self.run::<Size>(operation, &size).await?;
        }
        result
    }

    /// A call for a page of at most so many entries.
    fn page<'s>(&self, script: &'s Script, place: &Place, most: usize, args: &[u64]) -> Call<'s> {
        let mut call = self.call(script);
        call.arg(&place.begun).arg(&place.passed).arg(&place.score);
        call.arg(PAGE).arg(PAGE.min(most)).arg(args);
        Call::Script(call)
    }

    /// Asks for page after page, up to `limit` entries.
    ///
    /// What earlier pages gave up is not lost to an error of a later one: it is returned, and the
    /// rest is for the next call.
    async fn pages(
        &self,
        operation: &'static str,
        script: &Script,
        limit: usize,
        args: &[u64],
    ) -> Result<Vec<DlqEntry>, OutboxError> {
        let mut entries = Vec::new();
        let mut place = Some(Place::default());
        while let Some(next) = place.filter(|_| entries.len() < limit) {
            let call = self.page(script, &next, limit - entries.len(), args);
            let page: Page<Entries> = match self.run(operation, &call).await {
                Ok(page) => page,
                Err(error) if entries.is_empty() => return Err(error),
                Err(error) => {
                    let (error, given) = (error.to_string(), entries.len());
                    tracing::warn!(error, given, "gave up only a part of the entries");
                    break;
                }
            };
            self.tell_of_aside(page.aside);
            entries.extend(page.given.0);
            place = page.next;
        }
        Ok(entries)
    }

    fn tell_of_aside(&self, count: u64) {
        if self.aside.swap(count, Ordering::Relaxed) != count && count > 0 {
            let key = self.keys.aside();
            tracing::warn!(key, count, "members that are no entries are set aside");
        }
    }
}

#[async_trait]
impl DlqHeap for RedisDlqHeap {
    async fn record_failure(&self, id: EventId) -> Result<(), OutboxError> {
        self.record_failures(&[FailedAttempt::new(id)]).await
    }

    async fn record_success(&self, id: EventId) -> Result<(), OutboxError> {
        const SUCCESS: &str = "record success";
        let id = id.to_string();
        let mut remove = cmd("ZREM");
        remove.arg(self.keys.counts()).arg(&id);
        let is_entry: bool = self.write(SUCCESS, &Call::Command(remove)).await?;
        // Most events never failed. Of one that did, the entry is gone, and what is left of it if
        // the caller goes away here is tidied up by those who find it.
        if is_entry {
            let mut tidy = self.scripts.tidy.prepare_invoke();
            tidy.key(self.keys.all()).arg(&id);
            self.write::<()>(SUCCESS, &Call::Script(tidy)).await?;
        }
        Ok(())
    }

    async fn drain_exceeded(&self, threshold: u32) -> Result<Vec<DlqEntry>, OutboxError> {
        let args = [u64::from(threshold.max(1))];
        let script = &self.scripts.drain;
        self.pages("drain", script, usize::MAX, &args).await
    }

    async fn record_failures(&self, failures: &[FailedAttempt]) -> Result<(), OutboxError> {
        for part in failures.chunks(BATCH) {
            let mut record = self.call(match part {
                [_] => &self.scripts.record_one,
                _ => &self.scripts.record,
            });
            for failure in part {
                // A text is stored behind a space.
                let text = failure.error.as_ref().map(ErrorText::as_str);
                let text = text.map_or_else(String::new, |text| format!(" {text}"));
                record.arg(failure.id.to_string()).arg(text);
            }
            self.write::<()>("record", &Call::Script(record)).await?;
        }
        Ok(())
    }

    async fn forget(&self, ids: &[EventId]) -> Result<(), OutboxError> {
        for part in ids.chunks(BATCH) {
            let mut forget = self.scripts.forget.prepare_invoke();
            forget.key(self.keys.all());
            for id in part {
                forget.arg(id.to_string());
            }
            self.write::<()>("forget", &Call::Script(forget)).await?;
        }
        Ok(())
    }

    async fn lease_exceeded(
        &self,
        threshold: u32,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<DlqEntry>, OutboxError> {
        let args = [u64::from(threshold.max(1)), micros(lease)];
        let script = &self.scripts.lease;
        self.pages("lease", script, limit, &args).await
    }

    async fn size(&self) -> Result<Option<HeapSize>, OutboxError> {
        let size = Call::Script(self.call(&self.scripts.size));
        let size: Size = self.run("size", &size).await?;
        Ok(Some(HeapSize::new(size.entries, size.oldest)))
    }

    async fn prune(&self, age: Duration, limit: usize) -> Result<usize, OutboxError> {
        let (mut count, mut place) = (0, Some(Place::default()));
        while let Some(next) = place.filter(|_| count < limit) {
            let prune = self.page(&self.scripts.prune, &next, limit - count, &[micros(age)]);
            let page: Page<usize> = self.run("prune", &prune).await?;
            self.tell_of_aside(page.aside);
            count += page.given;
            place = page.next;
        }
        Ok(count)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
