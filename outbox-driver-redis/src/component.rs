//! The keys of one adapter.

use crate::config::RedisConfig;
use crate::driver::{Driver, OPEN};
use outbox_core::OutboxError;
use std::fmt;

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
        let driver = Driver::new(Keys::new(self, &config.namespace), config);
        if !is_lazy {
            driver.check_in(OPEN).await?;
        }
        Ok(driver)
    }
}

/// The names of the keys in a namespace. All have one hash tag, so they are in one slot of a cluster.
/// No namespace has a brace, so the tag is the whole namespace, and two namespaces never share a key.
pub(crate) struct Keys {
    prefix: String,
    all: Vec<String>,
}

impl Keys {
    fn new(component: &Component, namespace: &str) -> Self {
        let prefix = format!("{}:{{{namespace}}}:", component.name);
        let key = |name: &&str| format!("{prefix}{name}");
        let all = component.keys.iter().map(key).collect();
        Self { prefix, all }
    }

    pub(crate) fn all(&self) -> &[String] {
        &self.all
    }

    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_namespace_have_its_hash_tag() {
        let component = Component {
            name: "outbox-dlq",
            keys: &["counts", "turns"],
        };
        let keys = Keys::new(&component, "shop");
        assert_eq!(
            keys.all(),
            ["outbox-dlq:{shop}:counts", "outbox-dlq:{shop}:turns"]
        );
        assert_eq!(keys.key("turns"), "outbox-dlq:{shop}:turns");
        assert_eq!(keys.to_string(), "outbox-dlq:{shop}:*");
    }
}
