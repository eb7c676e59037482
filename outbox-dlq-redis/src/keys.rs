//! The keys of a heap.

use crate::error::BACKEND;
use outbox_core::OutboxError;
use std::fmt;

const LONGEST: usize = 255;

/// All keys of a namespace have one hash tag, so they are in one slot of a cluster. As no namespace
/// has a brace, the tag is the whole namespace, and two namespaces never share a key.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
    all: [String; 5],
}

impl Keys {
    pub(crate) fn new(namespace: &str) -> Result<Self, OutboxError> {
        if namespace.is_empty() || namespace.len() > LONGEST || namespace.contains(['{', '}']) {
            let allowed = format!("1 to {LONGEST} bytes without {{ and }}");
            let problem = format!("namespace is {namespace:?}, but must be {allowed}");
            return Err(OutboxError::invalid(BACKEND, "open", problem));
        }
        let prefix = format!("outbox-dlq:{{{namespace}}}:");
        let key = |name| format!("{prefix}{name}");
        let all = ["counts", "turns", "first", "details", "aside"].map(key);
        Ok(Self { prefix, all })
    }

    /// In the order in which the scripts take them.
    pub(crate) fn all(&self) -> &[String] {
        &self.all
    }

    /// What an id is in if it is an entry.
    pub(crate) fn counts(&self) -> &str {
        &self.all[0]
    }

    /// The key of members that are not entries, for an operator.
    pub(crate) fn aside(&self) -> &str {
        &self.all[4]
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outbox_core::ErrorKind;

    #[test]
    fn a_namespace_that_would_share_or_split_a_slot_is_refused_and_named() {
        for namespace in ["", "}", "a{b", "a}:counts{", &"n".repeat(256)] {
            let error = Keys::new(namespace).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(namespace), "{error}");
        }
        let keys = Keys::new(&"n".repeat(255)).unwrap();
        assert!(
            keys.all()
                .iter()
                .all(|key| key.starts_with("outbox-dlq:{nnn"))
        );
    }
}
