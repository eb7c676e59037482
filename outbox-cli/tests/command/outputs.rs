//! Output that cannot be written: on stderr it costs lines, on stdout the command.
#![cfg(unix)]

use crate::support::{
    Running, SHOP, appended, arrived, command, events, ids, lines, outbox, quarantined, status,
    until,
};
use std::fs::{File, OpenOptions};
use std::io::pipe;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

fn full_disk() -> Stdio {
    let full: File = OpenOptions::new().write(true).open("/dev/full").unwrap();
    full.into()
}

/// A pipe whose reader is gone.
fn broken_pipe() -> Stdio {
    let (_, writer) = pipe().unwrap();
    writer.into()
}

const UNWRITABLE: &[fn() -> Stdio] = &[full_disk, broken_pipe];

/// The exit code and the data of a command that cannot write to stderr.
fn muted(folder: &Path, arguments: &[&str], stderr: Stdio) -> (Option<i32>, String) {
    let mut command = command(folder, arguments);
    command
        .env("RUST_LOG", "debug")
        .stdout(Stdio::piped())
        .stderr(stderr);
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    let data = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), data)
}

#[test]
fn no_command_fails_because_stderr_cannot_be_written() {
    for unwritable in UNWRITABLE {
        let folder = TempDir::new().unwrap();
        let folder = folder.path();
        // More than a page, so that there is progress to report.
        let dead = quarantined(folder, &events("order.placed", 150), "refused");
        let run = |arguments: &[&str]| {
            muted(
                folder,
                &[arguments, &["--store", SHOP]].concat(),
                unwritable(),
            )
        };
        for (arguments, code) in [
            (&["migrate"][..], 0),
            (&["migrate", "status"], 0),
            (&["status"], 0),
            (&["dlq", "list"], 0),
            (&["dlq", "stats"], 0),
            (&["dlq", "export"], 0),
            (&["dlq", "show", &dead[0].to_string()], 0),
            (&["dlq", "show", "01890000-0000-7000-8000-000000000000"], 1),
            (&["dlq", "purge", "--all"], 2),
            (&["relay", "--batch-size", "0"], 2),
            (&["relay", "--to", "file:none/out"], 2),
            (&["bogus"], 2),
        ] {
            assert_eq!(run(arguments).0, Some(code), "{arguments:?}");
        }
        let (code, replayed) = run(&["dlq", "replay", "--all"]);
        assert_eq!((code, ids(&replayed).len()), (Some(0), 150));
        let (code, published) = run(&["relay", "--drain"]);
        assert_eq!((code, lines(&published).len()), (Some(0), 150));
        let (code, account) = muted(folder, &["demo"], unwritable());
        assert_eq!(code, Some(0), "{account}");
    }
}

#[test]
fn a_log_without_a_reader_does_not_stop_a_relay() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &events("order.placed", 500));
    let relay = [
        "relay",
        "--to",
        "file:out",
        "--batch-size",
        "1",
        "--store",
        SHOP,
    ];
    let (_reader, writer) = pipe().unwrap();
    let mut command = command(folder, &relay);
    command.env("RUST_LOG", "trace").stderr(writer);
    let mut running = Running(command.spawn().unwrap());
    until("all events", || arrived(&folder.join("out")).len() == 500);
    running.stop();
}

#[test]
fn output_that_cannot_be_written_fails_the_command_with_a_message() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let dead = quarantined(folder, &events("order.placed", 3), "refused")[0].to_string();
    let on_store: &[&[&str]] = &[
        &["migrate", "print"],
        &["migrate"],
        &["status"],
        &["status", "--json"],
        &["dlq", "list"],
        &["dlq", "list", "--json"],
        &["dlq", "stats"],
        &["dlq", "export"],
        &["dlq", "show", &dead],
        &["dlq", "replay", "--all", "--dry-run"],
        &["dlq", "replay", "--all", "--dry-run", "--json"],
    ];
    let without: &[&[&str]] = &[
        &["--help"],
        &["--version"],
        &["relay", "--help"],
        &["completions", "bash"],
        &["demo"],
    ];
    let all = on_store
        .iter()
        .map(|arguments| [arguments, &["--store", SHOP][..]].concat())
        .chain(without.iter().map(|arguments| arguments.to_vec()));
    for arguments in all {
        for unwritable in UNWRITABLE {
            let mut command = command(folder, &arguments);
            command.stdout(unwritable()).stderr(Stdio::piped());
            let output = command.spawn().unwrap().wait_with_output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
            let says_why = errors.contains("No space left") || errors.contains("has gone");
            assert!(
                says_why && errors.contains("stdout"),
                "{arguments:?}: {errors}"
            );
        }
    }
    assert_eq!(status(folder, "dead_letters"), 3);
}

#[test]
fn an_export_to_a_full_disk_names_the_file_and_leaves_none() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    quarantined(folder, &events("order.placed", 1), "refused");
    let out = outbox(
        folder,
        &[
            "dlq",
            "export",
            "--to",
            "file:/dev/none/out",
            "--store",
            SHOP,
        ],
    );
    assert_eq!(out.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(errors.contains("/dev/none/out"), "{errors}");
}
