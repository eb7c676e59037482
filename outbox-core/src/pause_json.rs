//! The pauses of a relay as the text that a store keeps.

use crate::registry::RelayPause;
use serde_json::{Value, json};
use std::time::Duration;

impl RelayPause {
    /// The pauses as a JSON array, for a store that keeps them in one column. Each has `destination`, `kind`,
    /// `error` and `seconds`.
    #[must_use]
    pub fn to_json(pauses: &[Self]) -> String {
        let pause = |pause: &Self| {
            json!({
                "destination": pause.destination,
                "kind": pause.kind,
                "error": pause.error,
                "seconds": pause.lasts.as_secs(),
            })
        };
        pauses.iter().map(pause).collect::<Value>().to_string()
    }

    /// The pauses of a text that [`to_json`](Self::to_json) has written. What another program wrote into the
    /// column is left out.
    #[must_use]
    pub fn from_json(text: &str) -> Vec<Self> {
        let values: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
        let pause = |value: &Value| {
            let text = |name: &str| value[name].as_str();
            let lasts = Duration::from_secs(value["seconds"].as_u64()?);
            let destination = text("destination");
            Some(Self::new(destination, text("kind")?, text("error")?, lasts))
        };
        values.iter().filter_map(pause).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_come_back_and_foreign_values_are_left_out() {
        let minute = Duration::from_secs(60);
        let pauses = [
            RelayPause::new(None, "unavailable", "a \"\u{1b}\n", minute),
            RelayPause::new(Some("größer"), "misconfigured", "", Duration::ZERO),
        ];
        let text = RelayPause::to_json(&pauses);
        assert_eq!(RelayPause::from_json(&text), pauses);
        let foreign = r#"[7,null,{"kind":"x"},{"kind":"x","error":"y","seconds":-1},"#;
        assert_eq!(
            RelayPause::from_json(&text.replacen('[', foreign, 1)),
            pauses
        );
        for text in ["", "{}", "null", "[", "\"[]\""] {
            assert_eq!(RelayPause::from_json(text), []);
        }
    }
}
