//! Times as the tables have them.

use std::time::SystemTime;

/// Microseconds since 1970, negative before. Saturates at the ends of `i64`.
///
/// ```
/// # use outbox_append_sqlite::micros;
/// # use std::time::{Duration, SystemTime};
/// assert_eq!(micros(SystemTime::UNIX_EPOCH + Duration::from_secs(1)), 1_000_000);
/// assert_eq!(micros(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), -1_000_000);
/// ```
#[must_use]
pub fn micros(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros)
        }
    }
}
