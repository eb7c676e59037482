//! How many requests are under way at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Above this number, endpoints without a request are forgotten.
const REMEMBERED: usize = 1000;

/// The requests of an endpoint, and of all.
pub(crate) struct Limits {
    all: Arc<Semaphore>,
    per_endpoint: usize,
    endpoints: Mutex<HashMap<Arc<str>, Arc<Semaphore>>>,
}

/// The right to one request.
pub(crate) struct Permit {
    _all: OwnedSemaphorePermit,
    /// It outlives the request if the endpoint is slow to send a body that is not needed.
    pub(crate) endpoint: OwnedSemaphorePermit,
}

impl Limits {
    pub(crate) fn new(all: usize, per_endpoint: usize) -> Self {
        let most = Semaphore::MAX_PERMITS;
        Self {
            all: Arc::new(Semaphore::new(all.min(most))),
            per_endpoint: per_endpoint.min(most),
            endpoints: Mutex::default(),
        }
    }

    /// Waits for a permit. One that waits for its endpoint takes nothing from others. `None` never comes,
    /// as nothing closes a semaphore.
    pub(crate) async fn acquire(&self, endpoint: &Arc<str>) -> Option<Permit> {
        let of_endpoint = self.of(endpoint);
        let endpoint = of_endpoint.acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Permit {
            _all: all,
            endpoint,
        })
    }

    fn of(&self, endpoint: &Arc<str>) -> Arc<Semaphore> {
        let mut endpoints = self
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if endpoints.len() >= REMEMBERED && !endpoints.contains_key(endpoint) {
            endpoints.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        }
        let new = || Arc::new(Semaphore::new(self.per_endpoint));
        let found = endpoints.entry(Arc::clone(endpoint)).or_insert_with(new);
        Arc::clone(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn an_endpoint_has_its_own_limit_and_all_have_one() {
        let limits = Limits::new(3, 2);
        let [a, b] = ["a", "b"].map(Arc::from);
        let acquire = |name| limits.acquire(name).now_or_never().flatten();
        let first = [acquire(&a).unwrap(), acquire(&a).unwrap()];
        assert!(acquire(&a).is_none());
        let _second = acquire(&b).unwrap();
        assert!(acquire(&b).is_none());
        drop(first);
        assert!(acquire(&b).is_some());
    }

    #[test]
    fn endpoints_without_requests_are_forgotten() {
        let limits = Limits::new(usize::MAX, 1);
        let name = |number: usize| Arc::from(number.to_string());
        let held = limits.acquire(&name(0)).now_or_never().flatten();
        for number in 1..=REMEMBERED {
            drop(limits.acquire(&name(number)).now_or_never());
        }
        let remembered = limits.endpoints.lock().unwrap().len();
        assert!(remembered < REMEMBERED, "{remembered}");
        assert!(limits.acquire(&name(0)).now_or_never().is_none());
        drop(held);
    }
}
