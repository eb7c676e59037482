#![doc = include_str!("../README.md")]

mod clock;
mod reply;

use async_trait::async_trait;
use clock::micros;
use outbox_core::{DlqEntry, DlqHeap, EventId, FailedAttempt, HeapSize, OutboxError};
use outbox_driver_redis::redis::{Script, ScriptInvocation};
use outbox_driver_redis::{Component, Driver};
use reply::{Entries, Page, Place, Size};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub use clock::ClockShift;
pub use outbox_driver_redis::{RedisConfig, Server, redis};

const COMPONENT: Component = Component {
    name: "outbox-dlq",
    keys: &["counts", "turns", "first", "details", ASIDE],
};

/// The key of members that are not entries, for an operator.
const ASIDE: &str = "aside";

/// The most entries that one script returns, so that other clients of the server do not wait for
/// long. Measured in the README.
const PAGE: usize = 100;

/// The most failures or ids that one script takes.
const BATCH: usize = 1000;

/// A [`DlqHeap`] in five keys of a Redis server. Clones share the connection.
///
/// # Cancel safety
///
/// Each script is applied whole or not at all. A script takes up to 1,000 failures or ids, or a page of
/// up to 100 entries, so a larger call whose future is dropped was applied up to some script. Entries
/// that a dropped drain had removed are lost.
#[derive(Clone, Debug)]
pub struct RedisDlqHeap {
    driver: Driver,
    scripts: Arc<Scripts>,
    shift: ClockShift,
    /// How many members the latest warning reported as set aside, so that each call does not repeat it.
    aside: Arc<AtomicU64>,
}

/// The scripts. Each starts with the prelude.
#[derive(Debug)]
struct Scripts {
    record: Script,
    forget: Script,
    drain: Script,
    lease: Script,
    size: Script,
    prune: Script,
}

/// A script with the prelude.
macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(
            include_str!("lua/prelude.lua"),
            include_str!($file)
        ))
    };
}

impl RedisDlqHeap {
    /// Opens the heap of a namespace. There are no tables, so nothing is migrated before. Logs a
    /// warning if the server may evict the heap's keys.
    ///
    /// ```no_run
    /// # use outbox_dlq_redis::{RedisDlqHeap, Server};
    /// # async fn example() -> Result<(), outbox_core::OutboxError> {
    /// let heap = RedisDlqHeap::open(Server::from_url("redis://cache.example/0")?).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) for a namespace, a login or a server that cannot be
    /// used. [`Unavailable`](outbox_core::ErrorKind::Unavailable) if the server cannot be reached.
    /// If the config is [lazy](RedisConfig::lazy), only the namespace is checked.
    pub async fn open(config: impl Into<RedisConfig>) -> Result<Self, OutboxError> {
        Ok(Self::on(COMPONENT.open(config).await?))
    }

    /// Does the same as [`open`](Self::open), so that a program can swap its heap in one line.
    ///
    /// ```no_run
    /// # use outbox_dlq_redis::{RedisConfig, RedisDlqHeap, Server};
    /// # async fn example() -> Result<(), outbox_core::OutboxError> {
    /// let server = Server::from_url("redis://cache.example/0")?;
    /// let heap = RedisDlqHeap::migrate(RedisConfig::new(server).namespace("orders")).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub async fn migrate(config: impl Into<RedisConfig>) -> Result<Self, OutboxError> {
        Self::open(config).await
    }

    /// Checks what [`open`](Self::open) checks: that the server answers and is not a replica, and, with a
    /// warning, whether it may evict the heap's keys. Sends nothing if an earlier check succeeded.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub async fn check(&self) -> Result<(), OutboxError> {
        self.driver.check().await
    }

    /// The `maxmemory-policy` of the server, if it may evict the heap's keys: one of `allkeys-*`, together
    /// with a limit to the memory. The heap's keys never expire, so `volatile-*` does not evict them.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub async fn eviction_policy(&self) -> Result<Option<String>, OutboxError> {
        self.driver.eviction_policy().await
    }

    /// Moves the heap's clock ahead, for tests: leases end and entries grow old without waiting.
    #[must_use]
    pub fn with_clock_shift(mut self, shift: ClockShift) -> Self {
        self.shift = shift;
        self
    }

    fn on(driver: Driver) -> Self {
        let scripts = Scripts {
            record: script!("lua/record.lua"),
            forget: script!("lua/forget.lua"),
            drain: script!("lua/drain.lua"),
            lease: script!("lua/lease.lua"),
            size: script!("lua/size.lua"),
            prune: script!("lua/prune.lua"),
        };
        Self {
            driver,
            scripts: Arc::new(scripts),
            shift: ClockShift::default(),
            aside: Arc::default(),
        }
    }

    /// A call of a script with the arguments that the prelude reads.
    fn call<'s>(&self, script: &'s Script) -> ScriptInvocation<'s> {
        let mut call = self.driver.call(script);
        call.arg(self.shift.micros());
        call
    }

    /// A call for a page of up to `limit` entries.
    fn page<'s>(
        &self,
        script: &'s Script,
        place: &Place,
        limit: usize,
        args: &[u64],
    ) -> ScriptInvocation<'s> {
        let mut call = self.call(script);
        call.arg(&place.begun).arg(&place.passed).arg(&place.score);
        call.arg(PAGE).arg(PAGE.min(limit)).arg(args);
        call
    }

    /// Returns up to `limit` entries, page by page. If a later page fails, the entries of the earlier
    /// ones are returned all the same, because a drain has removed them.
    async fn entries(
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
            let page: Page<Entries> = match self.driver.run(operation, &call).await {
                Ok(page) => page,
                Err(error) if entries.is_empty() => return Err(error),
                Err(error) => {
                    let (error, returned) = (error.to_string(), entries.len());
                    tracing::warn!(
                        error,
                        returned,
                        "a page failed: only a part of the entries is returned"
                    );
                    break;
                }
            };
            self.warn_of_aside(page.aside);
            entries.extend(page.content.0);
            place = page.next;
        }
        Ok(entries)
    }

    fn warn_of_aside(&self, count: u64) {
        if self.aside.swap(count, Relaxed) != count && count > 0 {
            let key = self.driver.key(ASIDE);
            tracing::warn!(key, count, "members that are not entries are set aside");
        }
    }
}

#[async_trait]
impl DlqHeap for RedisDlqHeap {
    async fn record_failure(&self, id: EventId) -> Result<(), OutboxError> {
        self.record_failures(&[FailedAttempt::new(id)]).await
    }

    async fn record_success(&self, id: EventId) -> Result<(), OutboxError> {
        self.forget(&[id]).await
    }

    async fn drain_exceeded(&self, threshold: u32) -> Result<Vec<DlqEntry>, OutboxError> {
        let (drain, args) = (&self.scripts.drain, [u64::from(threshold.max(1))]);
        self.entries("drain_exceeded", drain, usize::MAX, &args)
            .await
    }

    async fn record_failures(&self, failures: &[FailedAttempt]) -> Result<(), OutboxError> {
        for part in failures.chunks(BATCH) {
            let mut record = self.call(&self.scripts.record);
            for failure in part {
                // A text is stored after a space.
                let error = failure.error.as_deref();
                let error = error.map_or_else(String::new, |error| format!(" {error}"));
                record.arg(failure.id.to_string()).arg(error);
            }
            self.driver.run::<()>("record_failures", &record).await?;
        }
        Ok(())
    }

    async fn forget(&self, ids: &[EventId]) -> Result<(), OutboxError> {
        for part in ids.chunks(BATCH) {
            let mut forget = self.call(&self.scripts.forget);
            for id in part {
                forget.arg(id.to_string());
            }
            self.driver.run::<()>("forget", &forget).await?;
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
        self.entries("lease_exceeded", &self.scripts.lease, limit, &args)
            .await
    }

    async fn size(&self) -> Result<Option<HeapSize>, OutboxError> {
        let size = self.call(&self.scripts.size);
        let size: Size = self.driver.run("size", &size).await?;
        Ok(Some(HeapSize::new(size.entries, size.oldest)))
    }

    async fn prune(&self, age: Duration, limit: usize) -> Result<usize, OutboxError> {
        let (mut count, mut place) = (0, Some(Place::default()));
        while let Some(next) = place.filter(|_| count < limit) {
            let prune = self.page(&self.scripts.prune, &next, limit - count, &[micros(age)]);
            let page: Page<usize> = self.driver.run("prune", &prune).await?;
            self.warn_of_aside(page.aside);
            count += page.content;
            place = page.next;
        }
        Ok(count)
    }
}
