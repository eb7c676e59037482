//! Times in the tables: microseconds since 1970.

use std::time::{Duration, SystemTime};

/// The time `micros` after 1970, or 1970 if the system cannot represent it.
#[must_use]
pub fn from_micros(micros: i64) -> SystemTime {
    let distance = Duration::from_micros(micros.unsigned_abs());
    let time = if micros < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A length of time in microseconds. Saturates at the end of `i64`.
#[must_use]
pub fn interval(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::micros;

    #[test]
    fn microseconds_come_back_exactly() {
        for value in [0, 1, -1, 1_767_225_600_123_456, -62_135_596_800_000_000] {
            assert_eq!(micros(from_micros(value)), value);
        }
        for extreme in [i64::MIN, i64::MAX] {
            let _ = from_micros(extreme);
        }
    }
}
