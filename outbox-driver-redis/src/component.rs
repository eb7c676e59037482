//! What one adapter has in Redis.

use crate::config::RedisConfig;
use crate::driver::Driver;
use crate::error::OPEN;
use crate::keys::Keys;
use outbox_core::OutboxError;

/// The keys of one adapter, such as a heap.
#[derive(Clone, Copy, Debug)]
pub struct Component {
    /// The start of the keys' names: `outbox-dlq` for `outbox-dlq:{shop}:counts`.
    pub name: &'static str,
    /// The ends of the keys' names, in the order in which the scripts take them. At least one.
    pub keys: &'static [&'static str],
}

impl Component {
    /// Opens the namespace of the config. There are no tables, so nothing is migrated before. Checks the
    /// server as [`Driver::check`] does, unless the config is [lazy](RedisConfig::lazy).
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) for a namespace that is not allowed. Those of
    /// [`Driver::check`], unless the config is lazy.
    pub async fn open(&self, config: impl Into<RedisConfig>) -> Result<Driver, OutboxError> {
        let config = config.into();
        config.validate()?;
        let is_lazy = config.is_lazy;
        let keys = Keys::new(self.name, &config.namespace, self.keys);
        let driver = Driver::new(keys, config);
        if !is_lazy {
            driver.check_in(OPEN).await?;
        }
        Ok(driver)
    }
}
