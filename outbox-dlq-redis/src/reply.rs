//! The replies of the scripts.

use outbox_core::{DlqEntry, ErrorText, EventId};
use outbox_driver_redis::redis::{FromRedisValue, ParsingError, Value};
use std::time::{Duration, SystemTime};

/// A page of a drain, a lease or a prune.
pub(crate) struct Page<T> {
    /// How many members are set aside.
    pub(crate) aside: u64,
    /// The next page, if there may be more entries.
    pub(crate) next: Option<Place>,
    pub(crate) content: T,
}

/// Where a page starts; the first one starts at the lowest score.
#[derive(Default)]
pub(crate) struct Place {
    /// The time of the first page.
    pub(crate) begun: String,
    /// The last entry of the page before, with its score.
    pub(crate) passed: Vec<u8>,
    pub(crate) score: String,
}

impl<T: FromRedisValue> FromRedisValue for Page<T> {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (aside, has_more, begun, passed, score, content): (_, bool, _, _, _, _) =
            FromRedisValue::from_redis_value(value)?;
        let place = Place {
            begun,
            passed,
            score,
        };
        Ok(Self {
            aside,
            next: has_more.then_some(place),
            content,
        })
    }
}

/// The entries of a drain or a lease.
pub(crate) struct Entries(pub(crate) Vec<DlqEntry>);

impl FromRedisValue for Entries {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let rows: Vec<Row> = FromRedisValue::from_redis_value(value)?;
        let entries = rows.into_iter().map(entry).collect::<Result<_, _>>()?;
        Ok(Self(entries))
    }
}

/// Id, count, first failure, details.
type Row = (String, u32, Option<f64>, Option<Vec<u8>>);

fn entry((id, count, first, details): Row) -> Result<DlqEntry, ParsingError> {
    let id: EventId = id.parse().map_err(|_| format!("{id:?} is not a UUID"))?;
    // Another program may have stored text that is not UTF-8; it must not block the other entries.
    let details = String::from_utf8_lossy(details.as_deref().unwrap_or_default());
    let (last, error) = match details.split_once(' ') {
        Some((last, error)) => (last, Some(ErrorText::new(error))),
        None => (&*details, None),
    };
    // If one of the times is missing, the other one is returned.
    let last = last.parse().ok();
    let first = first.or(last).unwrap_or_default();
    let last = last.unwrap_or(first).max(first);
    Ok(DlqEntry::new(id, count, time(first), time(last)).with_error(error))
}

/// How much is tracked.
pub(crate) struct Size {
    pub(crate) entries: u64,
    pub(crate) oldest: Option<SystemTime>,
}

impl FromRedisValue for Size {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (entries, oldest): (u64, Option<f64>) = FromRedisValue::from_redis_value(value)?;
        let oldest = oldest.map(time);
        Ok(Self { entries, oldest })
    }
}

/// Microseconds since 1970. A time that cannot be represented becomes 1970.
fn time(micros: f64) -> SystemTime {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast saturates, and microseconds of this age are exact in 53 bits"
    )]
    let micros = micros as u64;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(micros));
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}
