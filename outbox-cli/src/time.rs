//! Times as the command writes them, which is RFC 3339 in UTC, and as it reads them.

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;
use humantime::{Rfc3339Timestamp, format_rfc3339_micros, format_rfc3339_seconds};
use std::time::{Duration, SystemTime};

/// After so long the calendar is the same again: five times 400 years.
const CYCLE: Duration = Duration::from_secs(5 * 146_097 * 24 * 3600);
const CYCLE_YEARS: u32 = 2000;

/// The first instant of the year 2000, so that of the year 0 one cycle later.
const FIRST: Duration = Duration::from_secs(946_684_800);
/// The last microsecond of the year 9999.
const LAST: Duration = Duration::from_micros(253_402_300_799_999_999);

/// Reads a time of RFC 3339 with any offset, a date (its first instant in UTC), or an age such as `2h`,
/// which is subtracted from this machine's time.
pub(crate) fn parse(text: &str) -> Result<SystemTime, String> {
    let whole_day = format!("{text}T00:00:00Z");
    for candidate in [text, &whole_day] {
        // RFC 3339 allows a blank between date and time.
        let candidate = candidate.replacen(' ', "T", 1);
        if let Ok(time) = OffsetDateTime::parse(&candidate, &Rfc3339) {
            return Ok(time.into());
        }
    }
    humantime::parse_duration(text)
        .ok()
        .and_then(|age| SystemTime::now().checked_sub(age))
        .ok_or_else(|| {
            "must be a time such as 2026-01-31T12:00:00+02:00, a date such as 2026-01-31 (its beginning \
             in UTC), or an age such as 2h or 7days"
                .to_owned()
        })
}

/// To the second.
pub(crate) fn seconds(time: SystemTime) -> String {
    written(time, format_rfc3339_seconds)
}

/// To the microsecond.
pub(crate) fn micros(time: SystemTime) -> String {
    written(time, format_rfc3339_micros)
}

/// A row can hold any time, such as the year 1 of a program that set none. humantime panics before
/// 1970 and fails after 9999, where RFC 3339 ends. A time outside is shown as its first or last instant.
fn written(time: SystemTime, format: fn(SystemTime) -> Rfc3339Timestamp) -> String {
    const EPOCH: SystemTime = SystemTime::UNIX_EPOCH;
    if time >= EPOCH {
        return format(time.min(EPOCH + LAST)).to_string();
    }
    let text = format((time + CYCLE).max(EPOCH + FIRST)).to_string();
    let (year, rest) = text.split_once('-').unwrap_or_default();
    let year = year.parse().unwrap_or(CYCLE_YEARS);
    format!("{:04}-{rest}", year.saturating_sub(CYCLE_YEARS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_a_date_and_an_age_are_read() {
        for (text, expected) in [
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31 12:00:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00.5+02:00", "2026-01-31T10:00:00Z"),
            ("2026-01-31t12:00:00z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T00:00:00-05:30", "2026-01-31T05:30:00Z"),
            ("2026-01-31", "2026-01-31T00:00:00Z"),
        ] {
            assert_eq!(parse(text).map(seconds).as_deref(), Ok(expected), "{text}");
        }
        let now = SystemTime::now();
        let age = now.duration_since(parse("2h").unwrap()).unwrap_or_default();
        assert!(age <= Duration::from_secs(2 * 3600), "{age:?}");
        assert!(age > Duration::from_secs(2 * 3600 - 60), "{age:?}");
        for text in [
            "",
            "yesterday",
            "2026-02-30",
            "2026-01-31T12:00:00",
            "12:00",
            "-2h",
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains("such as 2h"), "{error}");
        }
    }

    #[test]
    fn any_time_is_written_and_those_of_the_calendar_exactly() {
        let epoch = SystemTime::UNIX_EPOCH;
        let (before, after) = (
            |seconds| epoch - Duration::from_secs(seconds),
            |seconds| epoch + Duration::from_secs(seconds),
        );
        for (time, text) in [
            (after(0), "1970-01-01T00:00:00Z"),
            (before(1), "1969-12-31T23:59:59Z"),
            (before(11_644_473_600), "1601-01-01T00:00:00Z"),
            (before(62_135_596_800), "0001-01-01T00:00:00Z"),
            (before(62_167_219_200), "0000-01-01T00:00:00Z"),
            (before(62_167_219_201), "0000-01-01T00:00:00Z"),
            (before(9_000_000_000_000), "0000-01-01T00:00:00Z"),
            (after(253_402_300_799), "9999-12-31T23:59:59Z"),
            (after(253_402_300_800), "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(seconds(time), text);
        }
        let moment = before(1) + Duration::from_micros(7);
        assert_eq!(micros(moment), "1969-12-31T23:59:59.000007Z");
        assert_eq!(micros(epoch + LAST), "9999-12-31T23:59:59.999999Z");
    }
}
