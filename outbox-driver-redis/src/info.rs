//! What the reply of `INFO` says about a server.

/// The `maxmemory-policy`, if it may evict keys that never expire.
pub(crate) fn evicting(info: &str) -> Option<String> {
    let policy = field(info, "maxmemory_policy").filter(|policy| policy.starts_with("allkeys"))?;
    (field(info, "maxmemory") != Some("0")).then(|| policy.to_owned())
}

/// Whether the server is a replica.
pub(crate) fn is_replica(info: &str) -> bool {
    field(info, "role") == Some("slave")
}

fn field<'i>(info: &'i str, name: &str) -> Option<&'i str> {
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
