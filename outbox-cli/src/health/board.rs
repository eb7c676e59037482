//! The health of all stores of the process.

use super::progress::{self, Finding};
use super::store::StoreHealth;
use crate::settings::ServiceSettings;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The stores of the process, by their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<BTreeMap<Arc<str>, StoreHealth>>>);

impl Board {
    /// Adds a store, or replaces the one of its name.
    pub(crate) fn add(&self, settings: &ServiceSettings) -> StoreHealth {
        let health = StoreHealth::new(settings);
        self.lock()
            .insert(Arc::clone(&settings.name), health.clone());
        health
    }

    /// Removes a store that has no relay any more.
    pub(crate) fn remove(&self, name: &str) {
        if let Some(health) = self.lock().remove(name) {
            health.removed();
        }
    }

    /// Whether each store is open, migrated and reachable, and which is not.
    pub(super) fn readiness(&self) -> (bool, Value) {
        let found: Vec<_> = self.stores().iter().filter_map(progress::unready).collect();
        (found.is_empty(), json!({ "findings": values(&found) }))
    }

    /// Whether each store makes progress, why not, and what is known of each.
    pub(super) fn progress(&self) -> (bool, Value) {
        let stores = self.stores();
        let found: Vec<_> = stores.iter().flat_map(progress::findings).collect();
        let stores: Vec<_> = stores.iter().map(progress::facts).collect();
        let body = json!({ "findings": values(&found), "stores": stores });
        (found.is_empty(), body)
    }

    fn stores(&self) -> Vec<StoreHealth> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, StoreHealth>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn values(findings: &[Finding]) -> Vec<Value> {
    findings.iter().map(Finding::value).collect()
}
