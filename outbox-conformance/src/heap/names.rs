//! Heaps with separate names: a schema, a prefix of keys, a file.

use super::{NamedFixture, counts};
use crate::check::{check, check_eq, ok};
use outbox_core::{DlqHeap, ErrorKind, EventId};
use std::sync::Arc;

/// Each is a prefix of another, or looks like one to a pattern, a quotation or a hash tag.
const NAMES: &[&str] = &[
    "a",
    "ab",
    "a b",
    "a ",
    "a'b",
    "a''b",
    "a\"b",
    "a:b",
    "a:",
    "a{b}",
    "{a}b",
    "{a}",
    "a%",
    "a_",
    "a*",
    "a.b",
    "a\\b",
    "a;b--",
    "ключ",
    "ключ2",
    "日本",
    "a\u{1f600}",
];

/// The heap of a name, or nothing if the name is refused in the right way.
async fn accepted<F: NamedFixture>(fixture: &F, name: &str) -> Option<Arc<dyn DlqHeap>> {
    let error = match fixture.named(name).await {
        Ok(heap) => return Some(heap),
        Err(error) => error,
    };
    check_eq!(error.kind(), ErrorKind::Invalid, "the kind of {error}");
    let report = error.to_string();
    let named = |name: &str| {
        let begin: String = name.chars().take(20).collect();
        report.contains(&begin)
    };
    let escaped = format!("{name:?}");
    check!(
        named(name) || named(escaped.trim_matches('"')),
        "expected an error that names {name:?}, came {report:?}"
    );
    None
}

/// Asserts that the heaps of these names, as far as they are accepted, see nothing of each other.
/// Returns how many are accepted.
async fn assert_separate<F: NamedFixture>(fixture: &F, names: &[&str]) -> usize {
    let shared = EventId::new();
    let mut named = Vec::new();
    for (name, times) in names.iter().copied().zip(1..) {
        let Some(heap) = accepted(fixture, name).await else {
            continue;
        };
        let own = EventId::new();
        ok(heap.record_failure(own).await);
        for _ in 0..times {
            ok(heap.record_failure(shared).await);
        }
        named.push((name, [(shared, times), (own, 1)]));
    }
    for (name, expected) in &named {
        let heap = ok(fixture.named(name).await);
        let drained = counts(ok(heap.drain_exceeded(0).await));
        check_eq!(drained, expected, "a drain of the heap {name:?}");
    }
    named.len()
}

/// H12: prefixes, quotes, colons, braces, spaces, patterns, unicode. A store may refuse a name, but
/// not plain ones.
pub async fn oddly_named_heaps_are_separate<F: NamedFixture>(fixture: F) {
    let plain = assert_separate(&fixture, &["plain", "plain_2"]).await;
    check_eq!(plain, 2, "plain names that are accepted");
    assert_separate(&fixture, NAMES).await;
}

/// H12: names that differ in their last character are two names or are refused, however long.
pub async fn a_long_name_is_refused_or_kept_whole<F: NamedFixture>(fixture: F) {
    for length in [40, 59, 62, 63, 64, 127, 128, 250, 255, 256, 1_000, 5_000] {
        let stem = "n".repeat(length - 1);
        let (one, two) = (format!("{stem}1"), format!("{stem}2"));
        let accepted = assert_separate(&fixture, &[&one, &two]).await;
        check!(
            accepted != 1,
            "expected two names of {length} bytes, or none, came one"
        );
    }
}
