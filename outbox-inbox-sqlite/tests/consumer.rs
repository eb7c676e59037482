//! The example that a reader copies.

use outbox_core::EventId;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The example is next to the folder of the tests.
fn consume(file: &Path, events: &[String]) -> String {
    let tests = std::env::current_exe().expect("this program");
    let built = tests.parent().and_then(Path::parent).expect("its folders");
    let mut consumer = Command::new(built.join("examples/consumer"))
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the consumer starts");
    let mut lines = consumer.stdin.take().expect("a pipe");
    for event in events {
        writeln!(lines, "{event}").expect("written");
    }
    drop(lines);
    let output = consumer.wait_with_output().expect("ended");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn each_event_has_its_effect_once_across_processes() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("billing.db");
    let event = |_| format!(r#"{{"id":"{}","type":"order.placed"}}"#, EventId::new());
    let mut events: Vec<String> = (0..3).map(event).collect();
    events.push(events[1].clone());
    assert_eq!(consume(&file, &events), "3 handled, 1 had been before\n");
    events.push(event(0));
    assert_eq!(consume(&file, &events), "1 handled, 4 had been before\n");
}
