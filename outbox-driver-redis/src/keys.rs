//! The names of the keys.

use std::fmt;

/// The names of the keys in a namespace. All have one hash tag, so they are in one slot of a cluster.
/// No namespace has a brace, so the tag is the whole namespace, and two namespaces never share a key.
pub(crate) struct Keys {
    prefix: String,
    all: Vec<String>,
}

impl Keys {
    pub(crate) fn new(component: &str, namespace: &str, names: &[&str]) -> Self {
        let prefix = format!("{component}:{{{namespace}}}:");
        let key = |name: &&str| format!("{prefix}{name}");
        let all = names.iter().map(key).collect();
        Self { prefix, all }
    }

    pub(crate) fn all(&self) -> &[String] {
        &self.all
    }

    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
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

    #[test]
    fn all_keys_of_a_namespace_have_its_hash_tag() {
        let keys = Keys::new("outbox-dlq", "shop", &["counts", "turns"]);
        assert_eq!(
            keys.all(),
            ["outbox-dlq:{shop}:counts", "outbox-dlq:{shop}:turns"]
        );
        assert_eq!(keys.key("turns"), "outbox-dlq:{shop}:turns");
        assert_eq!(keys.to_string(), "outbox-dlq:{shop}:*");
    }
}
