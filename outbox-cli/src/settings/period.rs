//! A length of time, as people write it.

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Such as `30s`, `5min` or `1h 30min`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Period(Duration);

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text).map(Self).map_err(|error| {
            format!("{text:?} is not a length of time such as 30s or 5min: {error}")
        })
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.0
    }
}

impl From<Duration> for Period {
    fn from(length: Duration) -> Self {
        Self(length)
    }
}

impl Serialize for Period {
    /// As the documentation writes it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = humantime::format_duration(self.0).to_string();
        let text = if text.ends_with('m') {
            format!("{text}in")
        } else {
            text
        };
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time such as \"30s\" or \"5min\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}
