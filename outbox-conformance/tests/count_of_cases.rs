//! `.ci/cases` refuses a run in which a case of a fixture did not pass.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The log of a run: each fixture with the number of its cases, and the cases that passed.
fn log(fixtures: &[(&str, usize, &[&str])]) -> String {
    let mut log = String::new();
    for (fixture, expected, passed) in fixtures {
        for case in *passed {
            let line = format!("outbox-conformance transport {fixture} {expected} {case}");
            writeln!(log, "{line}").expect("text");
        }
    }
    log
}

/// Whether the script accepts the log of `cargo test` with the arguments, and what it prints.
fn accepts(log: &str, arguments: &[&str]) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    fs::write(&path, log).expect("written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/cases");
    let output = Command::new(script).arg(path).args(arguments).output();
    let output = output.expect("the script runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), printed)
}

const PACKAGE: [&str; 2] = ["-p", "outbox-conformance"];

#[test]
fn a_run_of_all_cases_is_accepted_with_their_number() {
    let log = log(&[
        ("memory", 2, &["a", "b"]),
        ("keeping_order", 1, &["a"]),
        ("with_destinations", 1, &["a"]),
        ("tcp", 1, &["a"]),
    ]);
    let (accepted, printed) = accepts(&log, &PACKAGE);
    assert!(accepted, "{printed}");
    assert!(
        printed.contains("outbox-conformance memory transport: 2 of 2"),
        "{printed}"
    );
    assert!(printed.contains("5 conformance cases passed"), "{printed}");
}

#[test]
fn a_case_that_did_not_run_is_refused() {
    let log = log(&[
        ("memory", 2, &["a", "a"]),
        ("keeping_order", 1, &["a"]),
        ("with_destinations", 1, &["a"]),
        ("tcp", 1, &["a"]),
    ]);
    for arguments in [&PACKAGE[..], &["--test", "transport_conformance"]] {
        let (accepted, printed) = accepts(&log, arguments);
        assert!(!accepted, "{arguments:?}: {printed}");
        assert!(
            printed.contains("memory transport: 1 of 2, expected all"),
            "{printed}"
        );
    }
}

#[test]
fn a_fixture_that_did_not_run_is_refused() {
    let log = log(&[("memory", 1, &["a"])]);
    let (accepted, printed) = accepts(&log, &PACKAGE);
    assert!(!accepted, "{printed}");
    assert!(
        printed.contains("outbox-conformance keeping_order: none"),
        "{printed}"
    );
    assert!(accepts(&log, &["-p", "outbox-conformance", "--test", "x"]).0);
}

#[test]
fn a_run_of_some_tests_is_not_compared() {
    let log = log(&[("memory", 2, &["a"])]);
    for arguments in [
        &["-p", "outbox-conformance", "a_name"][..],
        &["--workspace", "--", "--skip", "a_name"],
        &["a_name"],
    ] {
        assert!(accepts(&log, arguments).0, "{arguments:?}");
    }
    assert!(accepts("", &["-p", "outbox-core"]).0);
}
