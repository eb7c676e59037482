//! A case ends with a message that has its clauses, so the suites have no other assertions than
//! those of `check.rs`.

use crate::table::below;
use std::fs;
use std::path::Path;

/// What would print no clauses.
const BARE: &[&str] = &[
    "assert!(",
    "assert_eq!(",
    "assert_ne!(",
    "panic!(",
    ".unwrap()",
    ".unwrap_err()",
    ".expect(",
    ".expect_err(",
];

#[test]
fn the_suites_assert_only_with_the_clauses_of_the_case() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders = ["append", "heap", "inbox", "store", "transport"].map(|suite| source.join(suite));
    let mut found = Vec::new();
    for path in below(folders.to_vec()) {
        if path.ends_with("heap/linear_tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in (1..).zip(code.lines()) {
            let is_code = !line.trim_start().starts_with("//");
            if is_code && BARE.iter().any(|bare| line.contains(bare)) {
                found.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
