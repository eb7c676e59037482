//! The clock by which a store inside this process measures leases and delays.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// The source of time of a store that runs in this process (memory, SQLite).
///
/// A store on a server uses the server's clock. A test passes a clock that it controls:
///
/// ```
/// # use outbox_core::Clock;
/// # use std::time::{Duration, SystemTime};
/// let clock = Clock::new(|| SystemTime::UNIX_EPOCH + Duration::from_secs(60));
/// assert_eq!(clock.now(), SystemTime::UNIX_EPOCH + Duration::from_secs(60));
/// ```
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// A clock that reads `now` at every call.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(SystemTime::now)
    }

    /// The machine's clock at this call plus the time that tokio's clock measures since, so a test
    /// that pauses tokio's clock controls it.
    #[must_use]
    pub fn tokio() -> Self {
        let wall = SystemTime::now();
        let start = tokio::time::Instant::now();
        Self::new(move || wall + start.elapsed())
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_clock_is_after_1970() {
        assert!(Clock::default().now() > SystemTime::UNIX_EPOCH);
    }
}
