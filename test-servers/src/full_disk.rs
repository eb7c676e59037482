//! A full disk.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Names the file to the process.
const FILE: &str = "OUTBOX_TEST_FILE";

/// Runs a command in which no file can grow beyond the first argument, in blocks of 512 bytes.
const LIMITED: &str = r#"trap "" XFSZ; ulimit -f "$1"; shift; exec "$@""#;

/// Runs `test`, an ignored test of the calling test program, in a process whose files cannot grow
/// beyond `kib` KiB: a write beyond that fails as on a full disk. Returns what the test printed.
///
/// # Panics
///
/// If that test fails, with what it printed.
#[must_use]
pub fn on_a_full_disk(test: &str, file: &Path, kib: u32) -> String {
    let run = || {
        Command::new("sh")
            .args(["-c", LIMITED, "sh", &(2 * kib).to_string()])
            .arg(std::env::current_exe()?)
            .args(["--ignored", "--nocapture", "--exact", test])
            .env(FILE, file)
            .output()
    };
    let output = run().unwrap_or_else(|error| panic!("cannot run {test}: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}");
    printed
}

/// The file that was passed to [`on_a_full_disk`], for the test that it runs.
#[must_use]
pub fn file_on_a_full_disk() -> Option<OsString> {
    std::env::var_os(FILE)
}
