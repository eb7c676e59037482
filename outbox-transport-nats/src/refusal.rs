//! What a server refuses without an answer to the message: it sends an error on the connection.

use async_nats::ServerError;

const PUBLISH: &str = "Permissions Violation for Publish to ";
const SUBSCRIBE: &str = "Permissions Violation for Subscription to ";

/// Something that the user of the connection may not do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// Publish to the subject.
    Publish { subject: String, text: String },
    /// Receive acknowledgments.
    Inbox(String),
}

impl Refusal {
    pub(crate) fn of(error: &ServerError) -> Option<Self> {
        let ServerError::Other(text) = error else {
            return None;
        };
        if let Some(subject) = text.strip_prefix(PUBLISH) {
            let subject = unquoted(subject)?;
            let text = text.clone();
            return Some(Self::Publish { subject, text });
        }
        // The transport subscribes to nothing else.
        let is_inbox = text.starts_with(SUBSCRIBE);
        is_inbox.then(|| Self::Inbox(text.clone()))
    }
}

/// The text in the quotes of Go, which put a backslash before quotes and backslashes.
fn unquoted(text: &str) -> Option<String> {
    let inner = text.trim_end().strip_prefix('"')?.strip_suffix('"')?;
    let mut characters = inner.chars();
    let mut text = String::with_capacity(inner.len());
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => characters.next()?,
            character => character,
        });
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Option<Refusal> {
        Refusal::of(&ServerError::Other(text.to_owned()))
    }

    #[test]
    fn the_subject_is_read_from_a_permissions_violation() {
        for (quoted, read) in [
            (r#""orders.new""#, "orders.new"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            (r#""clé""#, "clé"),
        ] {
            let text = format!("{PUBLISH}{quoted}");
            let subject = read.to_owned();
            assert_eq!(
                refusal(&text),
                Some(Refusal::Publish {
                    subject,
                    text: text.clone()
                })
            );
        }
        let text = format!(r#"{SUBSCRIBE}"_INBOX.a.*""#);
        assert_eq!(refusal(&text), Some(Refusal::Inbox(text.clone())));
        for other in ["Stale Connection", "Permissions Violation for Publish to x"] {
            assert_eq!(refusal(other), None, "{other}");
        }
    }
}
