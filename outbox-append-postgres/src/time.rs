//! Times as PostgreSQL counts them.

use std::time::{Duration, SystemTime};

/// From the first instant of 1970 to that of 2000, from which PostgreSQL counts.
pub const EPOCH: Duration = Duration::from_secs(946_684_800);

/// The ends of PostgreSQL's calendar, 4714 BC and 294276, in microseconds since 2000. A time beyond them
/// is refused or infinite.
const CALENDAR: (i64, i64) = (-211_813_488_000_000_000, 9_223_371_331_199_999_999);

/// A time in microseconds since 2000, negative before: the binary form of a `timestamptz`. A time beyond
/// the calendar of PostgreSQL is the last or the first of it.
///
/// ```
/// # use outbox_append_postgres::{EPOCH, micros};
/// # use std::time::{Duration, SystemTime};
/// let time = SystemTime::UNIX_EPOCH + EPOCH + Duration::from_secs(1);
/// assert_eq!(micros(time), 1_000_000);
/// assert_eq!(micros(SystemTime::UNIX_EPOCH), -946_684_800_000_000);
/// ```
#[must_use]
pub fn micros(time: SystemTime) -> i64 {
    let micros = match time.duration_since(SystemTime::UNIX_EPOCH + EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros)
        }
    };
    micros.clamp(CALENDAR.0, CALENDAR.1)
}
