//! How many connections to PostgreSQL each service of a process may hold.

use super::brokers;
use super::postgres::Database;
use super::role::{HEAP, STORE};
use crate::settings::ServiceSettings;
use std::collections::BTreeSet;

/// The most connections of a pool: half for the store and half for the heap, which share it.
const MOST: u32 = 8;

/// The fewest: one is at work while another is made.
const LEAST: u32 = 2;

/// The connections of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget(u32);

/// What one service needs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Demand {
    /// Pools, one for each database.
    pools: u32,
    /// Connections outside of a pool: the one that listens, and the one that reads HTTP endpoints.
    singles: u32,
}

impl Demand {
    fn of(service: &ServiceSettings) -> Self {
        let parsed = |role, url: &str| {
            let database = Database::is_url(url).then(|| Database::parse(role, url).ok());
            database.flatten()
        };
        let store = parsed(STORE, &service.urls.store);
        let heap = parsed(HEAP, &service.urls.heap);
        let destination = brokers::database(&service.to);
        let listens = store.as_ref().is_some_and(Database::listens);
        let reads = brokers::reads_endpoints(&service.to, store.is_some());
        let databases = [store, heap, destination];
        let databases: BTreeSet<_> = databases.iter().flatten().map(Database::key).collect();
        Self {
            pools: u32::try_from(databases.len()).unwrap_or(u32::MAX),
            singles: u32::from(listens) + u32::from(reads),
        }
    }

    /// The connections with pools of a size.
    fn with(self, size: u32) -> u32 {
        self.singles + self.pools * size
    }
}

impl Budget {
    /// # Errors
    ///
    /// What the budget must be, if it is too small for the services.
    pub(crate) fn new(limit: u32, services: &[ServiceSettings]) -> Result<Self, String> {
        let least = total(services, LEAST);
        if limit < least {
            return Err(format!(
                "connections is {limit}, but must be {least} or more for these stores with PostgreSQL"
            ));
        }
        Ok(Self(limit))
    }

    /// The size of each pool of the services, if `kept` of the connections stay as they are. None if too
    /// few are left.
    pub(crate) fn size(self, services: &[ServiceSettings], kept: u32) -> Option<u32> {
        let left = self.0.checked_sub(kept)?;
        let pools: u32 = services
            .iter()
            .map(|service| Demand::of(service).pools)
            .sum();
        let left = left.checked_sub(total(services, 0))?;
        let size = left.checked_div(pools).unwrap_or(MOST).min(MOST);
        (size >= LEAST).then_some(size)
    }

    /// The fewest connections that the services need.
    pub(crate) fn least(services: &[ServiceSettings]) -> u32 {
        total(services, LEAST)
    }

    pub(crate) fn limit(self) -> u32 {
        self.0
    }

    /// The connections that a service may hold.
    pub(crate) fn of(service: &ServiceSettings, size: u32) -> u32 {
        Demand::of(service).with(size)
    }
}

fn total(services: &[ServiceSettings], size: u32) -> u32 {
    services
        .iter()
        .map(|service| Budget::of(service, size))
        .sum()
}
