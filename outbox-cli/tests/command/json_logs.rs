//! Lines on stderr as JSON.

use crate::brokers::port_of_no_server;
use crate::support::{
    SHOP, appended, appended_to, arrived, command, events, lines, outbox, quarantined,
};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

const NAMES: [&str; 5] = ["timestamp", "level", "target", "message", "fields"];

/// The lines of a relay that drains to an endpoint without a server, and so fails.
fn failed(folder: &Path, collector: Option<&str>) -> Vec<Value> {
    appended(folder, &events("order.placed", 1));
    let to = format!(
        "http://127.0.0.1:{}/#allow=127.0.0.0/8",
        port_of_no_server()
    );
    let arguments = ["relay", "--store", SHOP, "--to", &to, "--drain"];
    let quick = ["--drain-timeout", "10ms", "--log-format", "json"];
    let mut relay = command(folder, &[&arguments[..], &quick].concat());
    relay.env("RUST_LOG", "info");
    if let Some(collector) = collector {
        relay.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector);
    }
    let output = relay.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    lines(std::str::from_utf8(&output.stderr).unwrap())
}

fn with<'l>(lines: &'l [Value], message: &str) -> &'l Value {
    let has = |line: &&Value| line["message"].as_str().unwrap().contains(message);
    lines
        .iter()
        .find(has)
        .unwrap_or_else(|| panic!("{lines:#?}"))
}

#[test]
fn each_line_is_an_object_with_the_same_names() {
    let folder = TempDir::new().unwrap();
    let lines = failed(folder.path(), None);
    for line in &lines {
        let line = line.as_object().unwrap();
        assert!(line.keys().all(|name| NAMES.contains(&&**name)), "{line:?}");
        assert_eq!(line.len(), NAMES.len(), "{line:?}");
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(
            timestamp.ends_with('Z') && timestamp.contains('T'),
            "{timestamp}"
        );
    }
    let start = with(&lines, "worker started");
    assert_eq!(start["level"], "INFO");
    assert_eq!(start["target"], "outbox_core::processor");
    assert!(start["fields"]["config"].is_string());
    let last = lines.last().unwrap();
    assert_eq!(last["level"], "ERROR");
    assert_eq!(last["target"], "outbox");
    let message = last["message"].as_str().unwrap();
    assert!(
        message.starts_with("outbox: the outbox is not drained"),
        "{message}"
    );
}

#[test]
fn a_line_within_a_span_that_is_exported_names_its_trace() {
    let folder = TempDir::new().unwrap();
    let collector = format!("http://127.0.0.1:{}", port_of_no_server());
    let lines = failed(folder.path(), Some(&collector));
    let line = with(&lines, "failed: its events wait");
    let length = |name: &str| line[name].as_str().map(str::len);
    assert_eq!(
        (length("trace_id"), length("span_id")),
        (Some(32), Some(16))
    );
    assert!(with(&lines, "worker started").get("trace_id").is_none());
}

#[test]
fn notes_and_failures_of_other_commands_are_objects_too() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    quarantined(folder, &events("order.placed", 2), "a\nline");
    let json = |arguments: &[&str]| {
        let mut command = command(folder, &[arguments, &["--store", SHOP]].concat());
        let output = command.env("OUTBOX_LOG_FORMAT", "json").output().unwrap();
        lines(std::str::from_utf8(&output.stderr).unwrap())
    };
    let purge = json(&["dlq", "purge", "--all", "--yes"]);
    assert!(
        purge.iter().all(|line| line["level"] == "INFO"),
        "{purge:?}"
    );
    let missing = json(&["dlq", "show", "01900000-0000-7000-8000-000000000000"]);
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert_eq!(missing[0]["level"], "ERROR");
}

#[test]
fn a_form_that_does_not_exist_is_refused() {
    let folder = TempDir::new().unwrap();
    let output = outbox(folder.path(), &["status", "--log-format", "yaml"]);
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("text, json"), "{errors}");
}

#[test]
fn a_relay_drains_while_its_json_is_not_read() {
    for reader_goes in [true, false] {
        let folder = TempDir::new().unwrap();
        let folder = folder.path();
        // More lines than a pipe has room for.
        appended(folder, &events("order.placed", 3000));
        let arguments = ["relay", "--store", SHOP, "--to", "file:out", "--drain"];
        let more = ["--log-format", "json", "--batch-size", "10"];
        let mut relay = command(folder, &[&arguments[..], &more].concat());
        relay.env("RUST_LOG", "trace").stderr(Stdio::piped());
        let mut relay = relay.spawn().unwrap();
        let reader = relay.stderr.take().filter(|_| !reader_goes);
        assert!(relay.wait().unwrap().success());
        drop(reader);
        assert_eq!(arrived(&folder.join("out")).len(), 3000);
    }
}

#[test]
fn a_line_of_a_relay_with_several_stores_names_its_store() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let mut tables = String::new();
    for name in ["one", "two"] {
        appended_to(folder, name, &events("order.placed", 1));
        let urls = format!("url = \"sqlite:{name}.db\"\nto = \"file:{name}\"\n");
        tables.extend(["[[store]]\nname = \"", name, "\"\n", &urls]);
    }
    fs::write(folder.join("outbox.toml"), tables).unwrap();
    let arguments = ["relay", "--config", "outbox.toml", "--drain"];
    let mut relay = command(
        folder,
        &[&arguments[..], &["--log-format", "json"]].concat(),
    );
    let output = relay.env("RUST_LOG", "info").output().unwrap();
    assert!(output.status.success());
    let lines = lines(std::str::from_utf8(&output.stderr).unwrap());
    let ended = lines
        .iter()
        .filter(|line| line["message"] == "worker stopped");
    let mut stores: Vec<&str> = ended
        .map(|line| line["fields"]["store"].as_str().unwrap())
        .collect();
    stores.sort_unstable();
    assert_eq!(stores, ["one", "two"]);
}

#[test]
fn the_form_is_that_of_the_flag_the_environment_the_file_or_text() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &[]);
    let file = |format: &str| {
        let text = format!("store = {SHOP:?}\n[relay]\nlog-format = {format:?}\n");
        fs::write(folder.join("outbox.toml"), text).unwrap();
    };
    let id = "01900000-0000-7000-8000-000000000000";
    // Whether the lines of two commands are JSON.
    let is_json = |flag: &[&str], variable: &str| {
        let config = [&["--config", "outbox.toml"], flag].concat();
        let forms = [&["dlq", "show", id][..], &["relay", "--drain"]].map(|begin| {
            let mut command = command(folder, &[begin, &config].concat());
            let variables = [("OUTBOX_LOG_FORMAT", variable), ("RUST_LOG", "info")];
            let output = command.envs(variables).output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(!text.is_empty());
            text.lines().all(|line| line.starts_with('{'))
        });
        assert_eq!(forms[0], forms[1]);
        forms[0]
    };
    file("text");
    assert!(!is_json(&[], ""));
    assert!(is_json(&["--log-format", "json"], "text"));
    file("json");
    assert!(is_json(&[], ""));
    assert!(!is_json(&[], "text"));
    assert!(!is_json(&["--log-format", "text"], "json"));
    fs::write(folder.join("outbox.toml"), format!("store = {SHOP:?}\n")).unwrap();
    assert!(!is_json(&[], ""));
    assert!(is_json(&[], "json"));
}

#[test]
fn a_form_of_a_file_is_refused_with_its_line_and_a_pipe_is_read_once() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &[]);
    let mistakes = [
        ("[relay]\nlog-format = \"yaml\"\n", "line 2: `log-format`: "),
        (
            "[[store]]\nname = \"a\"\nurl = \"sqlite:shop.db\"\nlog-format = \"json\"\n",
            "line 4: `log-format` is of the process",
        ),
    ];
    for (text, reason) in mistakes {
        fs::write(folder.join("outbox.toml"), text).unwrap();
        let output = outbox(folder, &["config", "check", "--config", "outbox.toml"]);
        assert_eq!(output.status.code(), Some(2));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(reason), "{errors}");
    }
    let config = ["status", "--config", "/dev/stdin"];
    let mut status = command(folder, &config);
    let piped = status.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut status = piped.spawn().unwrap();
    let text = format!("store = {SHOP:?}\n[relay]\nlog-format = \"json\"\n");
    let mut stdin = status.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    assert!(status.wait().unwrap().success());
}
