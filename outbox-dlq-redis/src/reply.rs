//! What the scripts answer.

use outbox_core::{DlqEntry, ErrorText, EventId};
use redis::{FromRedisValue, ParsingError, Value};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// A page of a drain, a lease or a prune.
pub(crate) struct Page<T> {
    /// How many members are set aside.
    pub(crate) aside: u64,
    /// The next page, if there is more to look at.
    pub(crate) next: Option<Place>,
    pub(crate) given: T,
}

/// Where a page starts; the first one starts at the lowest score.
#[derive(Default)]
pub(crate) struct Place {
    /// When the first page was.
    pub(crate) begun: String,
    /// The entry up to which the last page came, with its score.
    pub(crate) passed: Vec<u8>,
    pub(crate) score: String,
}

impl<T: FromRedisValue> FromRedisValue for Page<T> {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (aside, more, begun, passed, score, given): (_, bool, _, _, _, _) =
            FromRedisValue::from_redis_value(value)?;
        let place = Place {
            begun,
            passed,
            score,
        };
        Ok(Self {
            aside,
            next: more.then_some(place),
            given,
        })
    }
}

/// What a drain and a lease give.
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
    let id = Uuid::try_parse(&id).map_err(|error| error.to_string())?;
    // Another program may have stored text that is not UTF-8; it must not hold the others up.
    let details = String::from_utf8_lossy(details.as_deref().unwrap_or_default());
    let (last, error) = match details.split_once(' ') {
        Some((last, error)) => (last, Some(ErrorText::new(error))),
        None => (&*details, None),
    };
    // If one of the times is missing, the other one is returned.
    let last = last.parse().ok();
    let first = first.or(last).unwrap_or_default();
    let last = last.unwrap_or(first).max(first);
    Ok(DlqEntry::new(EventId::from(id), count, time(first), time(last)).with_error(error))
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

/// Microseconds since 1970; what no clock shows is 1970.
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

/// The policy in the reply of `INFO`, if it may evict keys that never expire.
pub(crate) fn evicting(info: &str) -> Option<String> {
    let policy = told(info, "maxmemory_policy").filter(|policy| policy.starts_with("allkeys"))?;
    (told(info, "maxmemory") != Some("0")).then(|| policy.to_owned())
}

/// Whether the reply of `INFO` is from a replica.
pub(crate) fn is_replica(info: &str) -> bool {
    told(info, "role") == Some("slave")
}

fn told<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    let mut lines = info.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_limit_with_a_policy_for_all_keys_evicts() {
        let memory = |limit, policy| {
            format!(
                "# Memory\r\nmaxmemory:{limit}\r\nmaxmemory_human:1K\r\nmaxmemory_policy:{policy}\r\n"
            )
        };
        let evicting = |limit, policy| evicting(&memory(limit, policy));
        assert_eq!(
            evicting(1024, "allkeys-lru").as_deref(),
            Some("allkeys-lru")
        );
        assert_eq!(evicting(0, "allkeys-lru"), None);
        assert_eq!(evicting(1024, "volatile-lru"), None);
        assert_eq!(evicting(1024, "noeviction"), None);
    }
}
