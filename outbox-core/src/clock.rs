//! The clock by which a store inside this process measures leases and delays.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// Where a store that lives in this process (memory, SQLite) takes the time from.
///
/// A server's store asks the server instead. A test passes a clock that it moves by hand.
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

    /// The machine's clock at the first call, carried on by tokio's: it stands still and jumps
    /// with `tokio::time::pause`.
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
    fn the_default_clock_tells_the_time() {
        assert!(Clock::default().now() > SystemTime::UNIX_EPOCH);
    }
}
