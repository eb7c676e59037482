//! A disk that is full.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Names the file to the process.
const FILE: &str = "OUTBOX_CONFORMANCE_FILE";

/// Runs the rest of its arguments where no file can grow beyond so many blocks of 512 bytes.
const LIMITED: &str = r#"trap "" XFSZ; ulimit -f "$1"; shift; exec "$@""#;

/// Runs `test`, an ignored one of the test program that calls this, in a process of its own whose
/// files cannot grow beyond `kib` KiB, as if the disk were full then. Returns what it printed.
///
/// # Panics
///
/// If that test fails, with what it printed.
#[must_use]
pub fn on_a_full_disk(test: &str, file: &Path, kib: u32) -> String {
    let told = || {
        Command::new("sh")
            .args(["-c", LIMITED, "sh", &(2 * kib).to_string()])
            .arg(std::env::current_exe()?)
            .args(["--ignored", "--nocapture", "--exact", test])
            .env(FILE, file)
            .output()
    };
    let told = told().unwrap_or_else(|error| panic!("{test} does not run: {error}"));
    let printed = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success(), "{printed}");
    printed
}

/// In such a process: the file that [`on_a_full_disk`] was called with.
#[must_use]
pub fn file_on_a_full_disk() -> Option<OsString> {
    std::env::var_os(FILE)
}
