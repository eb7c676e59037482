//! `outbox status` as a check: limits, and exit code 3.

use crate::support::{SHOP, appended, done, events, outbox, quarantined, refused};
use std::path::Path;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// The status is printed, and the exit code is 3 for these reasons.
fn found(folder: &Path, limits: &[&str], reasons: &[&str]) {
    let arguments = [&["status", "--store", SHOP], limits].concat();
    let output = outbox(folder, &arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{limits:?}: {errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    for reason in reasons {
        assert!(errors.contains(reason), "{limits:?} says {errors}");
    }
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("\npending "), "{limits:?}: {shown}");
}

#[test]
fn a_status_beyond_a_limit_has_exit_code_3() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    quarantined(folder, &events("order.placed", 3), "refused");
    let mut old = events("order.paid", 1);
    old[0].created_at = SystemTime::now() - Duration::from_secs(3600);
    appended(folder, &old);
    let status = |limits: &[&str]| done(folder, &[&["status", "--store", SHOP], limits].concat());
    status(&["--max-age", "2h", "--max-dead", "3"]);
    status(&["--json", "--max-age", "2h"]);
    let age = [
        "oldest pending event is 1h ",
        " old, but must be at most 30m (--max-age)",
    ];
    found(folder, &["--max-age", "30min"], &age);
    let dead = "dead letters are 3, but must be at most 2 (--max-dead)";
    found(folder, &["--max-dead", "2"], &[dead]);
    found(
        folder,
        &["--max-age", "1s", "--max-dead", "0"],
        &["1s (--max-age); dead letters are 3"],
    );
}

#[test]
fn an_outbox_without_events_is_within_every_limit() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &[]);
    let limits = ["--max-age", "0s", "--max-dead", "0"];
    done(
        folder,
        &[&["status", "--store", SHOP][..], &limits].concat(),
    );
    let limits = ["--max-age", "soon"];
    let soon = [&["status", "--store", SHOP][..], &limits].concat();
    refused(folder, &soon, 2, &["soon"]);
}
