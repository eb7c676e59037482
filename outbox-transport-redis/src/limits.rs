//! The largest event that a server takes.

use crate::entry::Size;
use outbox_core::OutboxError;
use outbox_driver_redis::SharedConnection;
use outbox_driver_redis::redis::{FromRedisValue, Pipeline, Value};
use std::collections::HashMap;

const VALUE: &str = "proto-max-bulk-len";
const REQUEST: &str = "client-query-buffer-limit";

/// What else is in the query buffer of the server together with an event.
const MARGIN: usize = 64 << 10;

/// The largest entry that a node of a stream can hold.
const ENTRY: usize = 1 << 30;

/// The sizes that a server takes, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) value: usize,
    pub(crate) request: usize,
    /// Whether the server has named them.
    pub(crate) is_known: bool,
    /// The limit of the config.
    configured: Option<usize>,
}

impl Limits {
    /// Asks the server. If the user may not ask, they are those of Redis by default.
    pub(crate) async fn read(
        connection: &SharedConnection,
        operation: &'static str,
        configured: Option<usize>,
    ) -> Result<Self, OutboxError> {
        let mut pipeline = Pipeline::with_capacity(2);
        for name in [VALUE, REQUEST] {
            pipeline.cmd("CONFIG").arg("GET").arg(name);
        }
        let settings = connection.pipeline(operation, &pipeline, |replies| Ok(settings(replies)));
        let settings = settings.await?;
        Ok(Self {
            value: settings.get(VALUE).copied().unwrap_or(512 << 20),
            request: settings.get(REQUEST).copied().unwrap_or(1 << 30),
            is_known: settings.len() == 2,
            configured,
        })
    }

    /// Why no server with these limits takes an event.
    pub(crate) fn problem(&self, size: Size) -> Option<String> {
        let Size {
            total,
            largest_value,
        } = size;
        let largest = self.configured.unwrap_or(usize::MAX);
        let request = self.largest();
        if total > largest {
            let problem = format!("event has {total} bytes, but must have at most {largest}");
            return Some(problem);
        }
        if largest_value > self.value {
            let limit = self.value;
            return Some(format!(
                "a field of the event has {largest_value} bytes, but must have at most {limit} ({VALUE})"
            ));
        }
        (total > request).then(|| {
            format!("event has {total} bytes, but must have at most {request} ({REQUEST})")
        })
    }

    /// The largest total size of an event. The limit of a single field is separate.
    fn largest(&self) -> usize {
        self.request.min(ENTRY).saturating_sub(MARGIN)
    }

    /// For a person.
    pub(crate) fn note(&self) -> String {
        let largest = self.largest().min(self.value);
        match (self.configured, self.is_known) {
            (Some(configured), _) => {
                format!("the largest event has {} bytes", configured.min(largest))
            }
            (None, true) => format!("the largest event has about {largest} bytes"),
            (None, false) => format!(
                "the user may not ask for the largest event (CONFIG GET), so about {largest} bytes are \
                 assumed: set the option largest_event if the server takes less"
            ),
        }
    }
}

fn settings(replies: Vec<Value>) -> HashMap<String, usize> {
    let read = |reply| HashMap::<String, usize>::from_redis_value(reply).unwrap_or_default();
    replies.into_iter().flat_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_named() {
        let limits = Limits {
            value: 2000,
            request: MARGIN + 3000,
            is_known: true,
            configured: None,
        };
        let of = |total, largest_value| Size {
            total,
            largest_value,
        };
        assert_eq!(limits.problem(of(3000, 2000)), None);
        let value = limits.problem(of(2100, 2001)).unwrap_or_default();
        assert!(
            value.contains("2001 bytes, but must have at most 2000"),
            "{value}"
        );
        let request = limits.problem(of(3001, 2000)).unwrap_or_default();
        assert!(
            request.contains("3001 bytes, but must have at most 3000"),
            "{request}"
        );
        let configured = Limits {
            configured: Some(10),
            ..limits
        };
        let own = configured.problem(of(11, 1)).unwrap_or_default();
        assert!(own.contains("at most 10"), "{own}");
    }
}
