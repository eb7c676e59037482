//! The destinations of a relay: files that are rotated, and devices, FIFOs and sockets.
#![cfg(unix)]

use crate::support::{
    Running, SHOP, appended, arrived, command, done, events, lines, signal, status, until,
};
use outbox_core::EventId;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Appends one event, and returns its id.
fn append_one(folder: &Path) -> EventId {
    let event = events("order.placed", 1);
    appended(folder, &event);
    event[0].id
}

fn relay(folder: &Path, more: &[&str]) -> Command {
    let relay = ["relay", "--store", SHOP, "--poll-interval", "20ms"];
    command(folder, &[&relay[..], more].concat())
}

/// What a relay wrote that ended by itself.
fn output(mut command: Command) -> Output {
    command.stderr(Stdio::piped()).output().unwrap()
}

#[test]
fn an_event_after_a_rotation_is_in_the_file_that_has_the_name() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let logs = folder.join("logs");
    let path = logs.join("out");
    fs::create_dir(&logs).unwrap();
    appended(folder, &[]);
    let quick = ["--breaker-initial", "10ms", "--breaker-max", "20ms"];
    let to = [&["--to", "file:logs/out"][..], &quick].concat();
    let mut running = Running::start(relay(folder, &to));
    let arrives = |id| until("the event", || arrived(&path).contains(&id));
    let rotations: &[&dyn Fn()] = &[
        &|| fs::rename(&path, logs.join("out.1")).unwrap(),
        &|| fs::remove_file(&path).unwrap(),
        // As copytruncate does.
        &|| {
            fs::copy(&path, logs.join("out.2")).unwrap();
            OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(&path)
                .unwrap();
        },
        // In one step, because the relay may open the file between two.
        &|| {
            let torn = logs.join("torn");
            fs::write(&torn, "{\"id\":\"torn").unwrap();
            fs::rename(&torn, &path).unwrap();
        },
        &|| fs::remove_dir_all(&logs).unwrap(),
    ];
    for (number, rotate) in rotations.iter().enumerate() {
        arrives(append_one(folder));
        // Until it is settled, the relay may write it again.
        until("a settled event", || status(folder, "pending") == 0);
        rotate();
        let next = append_one(folder);
        // The folder comes back later than the event.
        if number == rotations.len() - 1 {
            fs::create_dir(&logs).unwrap();
        }
        arrives(next);
    }
    running.stop();
}

#[test]
fn a_hangup_opens_the_file_again_and_ends_no_relay() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let path = folder.join("out");
    appended(folder, &[]);
    let mut running = Running::start(relay(folder, &["--to", "file:out"]));
    for number in 0..3 {
        let id = append_one(folder);
        until("the event", || arrived(&path).contains(&id));
        fs::rename(&path, folder.join(format!("out.{number}"))).unwrap();
        signal(&running.0, "HUP");
        // Without an event.
        until("the file", || path.exists());
    }
    running.stop();
}

#[test]
fn a_hangup_ends_no_relay_that_writes_to_a_pipe() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    append_one(folder);
    let mut running = Running::start({
        let mut relay = relay(folder, &[]);
        relay.stdout(Stdio::piped());
        relay
    });
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        lines.next().unwrap().unwrap();
        signal(&running.0, "HUP");
        append_one(folder);
    }
    lines.next().unwrap().unwrap();
    running.stop();
}

#[test]
fn a_device_a_fifo_a_socket_and_the_names_of_stdout_are_written_to() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let drain = |to: &str| output(relay(folder, &["--drain", "--to", to]));
    append_one(folder);
    assert!(drain("file:/dev/null").status.success());

    for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        let id = append_one(folder);
        let written = drain(&format!("file:{name}"));
        assert!(written.status.success(), "{name}");
        let written = String::from_utf8(written.stdout).unwrap();
        assert_eq!(lines(&written)[0]["id"], id.to_string(), "{name}");
        assert_eq!(status(folder, "pending"), 0);
    }

    let id = append_one(folder);
    let (mut reader, writer) = UnixStream::pair().unwrap();
    let mut to_socket = relay(folder, &["--drain", "--to", "file:/dev/stdout"]);
    to_socket.stdout(std::os::fd::OwnedFd::from(writer));
    assert!(to_socket.status().unwrap().success());
    drop(to_socket);
    let mut written = String::new();
    reader.read_to_string(&mut written).unwrap();
    assert_eq!(lines(&written)[0]["id"], id.to_string());

    let id = append_one(folder);
    let listener = UnixListener::bind(folder.join("socket")).unwrap();
    let peer = std::thread::spawn(move || {
        let mut written = String::new();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_string(&mut written)
            .unwrap();
        written
    });
    assert!(drain("file:socket").status.success());
    assert_eq!(lines(&peer.join().unwrap())[0]["id"], id.to_string());

    let id = append_one(folder);
    let fifo = folder.join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let reader = std::thread::spawn(move || fs::read_to_string(fifo).unwrap());
    assert!(drain("file:fifo").status.success());
    assert_eq!(lines(&reader.join().unwrap())[0]["id"], id.to_string());
}

#[test]
fn a_reader_of_a_fifo_may_go_and_another_come() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let fifo = folder.join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    appended(folder, &[]);
    let quick = ["--breaker-initial", "10ms", "--breaker-max", "20ms"];
    let to = [&["--to", "file:fifo"][..], &quick].concat();
    let mut running = Running::start(relay(folder, &to));
    for _ in 0..2 {
        let id = append_one(folder).to_string();
        let mut reader = BufReader::new(File::open(&fifo).unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(lines(&line)[0]["id"], id);
        // So that the next reader does not meet the writer of this one.
        until("a settled event", || status(folder, "pending") == 0);
    }
    running.stop();
}

#[test]
fn a_drain_fails_if_the_destination_accepts_nothing() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    append_one(folder);
    assert!(
        Command::new("mkfifo")
            .arg(folder.join("fifo"))
            .status()
            .unwrap()
            .success()
    );
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let quick = [
        "--drain",
        "--drain-timeout",
        "1s",
        "--publish-timeout",
        "200ms",
        "--shutdown-grace",
        "100ms",
    ];
    for (to, reason) in [
        ("stdout://", "No space left"),
        ("file:/dev/full", "No space left"),
        ("file:fifo", "destination"),
    ] {
        let begun = Instant::now();
        let mut relay = relay(folder, &[&quick[..], &["--to", to]].concat());
        let output = relay.stdout(full()).stderr(Stdio::piped()).spawn().unwrap();
        let output = output.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{to}: {errors}");
        let last = errors.lines().last().unwrap();
        for part in ["not drained", "--drain-timeout", reason] {
            assert!(last.contains(part), "{to}: {errors}");
        }
        assert!(begun.elapsed() >= Duration::from_secs(1), "{to}: too early");
    }
    assert_eq!(
        done(folder, &["relay", "--drain", "--store", SHOP])
            .lines()
            .count(),
        1
    );
}

#[test]
fn a_path_that_is_wrong_is_refused_at_the_start() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &[]);
    fs::write(folder.join("foreign"), "no line of a relay").unwrap();
    let refused = [
        ("file:.", "directory"),
        ("file:none/out", "none/out"),
        ("file:foreign", "not of a relay"),
    ];
    for (to, reason) in refused {
        let output = output(relay(folder, &["--to", to]));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(reason), "{errors}");
    }
}

#[test]
fn a_second_signal_ends_a_relay_at_once_that_waits_for_a_publish() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    assert!(
        Command::new("mkfifo")
            .arg(folder.join("fifo"))
            .status()
            .unwrap()
            .success()
    );
    append_one(folder);
    let slow = [
        "--to",
        "file:fifo",
        "--shutdown-grace",
        "1h",
        "--publish-timeout",
        "20min",
        "--lease",
        "30min",
    ];
    let mut running = Running::start(relay(folder, &slow));
    until("a publish", || status(folder, "in_flight") == 1);
    signal(&running.0, "TERM");
    // The first may not have been heard when the second comes.
    let ended = Instant::now();
    while running.0.try_wait().unwrap().is_none() {
        signal(&running.0, "TERM");
        assert!(ended.elapsed() < Duration::from_secs(60), "it does not end");
        std::thread::yield_now();
    }
    assert_eq!(running.0.wait().unwrap().code(), Some(1));
}
