//! Flag, environment, file, default.

use crate::support::{appended, command, done, events, refused};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Runs a relay on one new event and says in which of the places it arrived.
fn destination(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> &'static str {
    appended(folder, &events("order.placed", 1));
    let output = command(folder, &[&["relay", "--drain"], arguments].concat())
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let mut found = Vec::new();
    if !output.stdout.is_empty() {
        found.push("stdout");
    }
    for name in ["flag", "environment", "file"] {
        if fs::remove_file(folder.join(name)).is_ok() {
            found.push(name);
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

#[test]
fn a_flag_goes_before_the_environment_before_the_file_before_the_default() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let text = "store = \"sqlite:shop.db\"\n[relay]\nto = \"file:file\"\n";
    fs::write(folder.join("outbox.toml"), text).unwrap();
    fs::write(folder.join("store.toml"), "store = \"sqlite:shop.db\"\n").unwrap();
    let flags = ["--config", "outbox.toml", "--to", "file:flag"];
    let file = ("OUTBOX_CONFIG", "outbox.toml");
    let environment = ("OUTBOX_TO", "file:environment");
    assert_eq!(destination(folder, &flags, &[environment]), "flag");
    assert_eq!(
        destination(folder, &flags[..2], &[environment]),
        "environment"
    );
    assert_eq!(
        destination(folder, &[], &[environment, file]),
        "environment"
    );
    assert_eq!(destination(folder, &[], &[file]), "file");
    assert_eq!(
        destination(folder, &["--config", "store.toml"], &[file]),
        "stdout"
    );
}

#[test]
fn database_url_names_the_store_between_the_flag_and_the_file() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    done(folder, &["migrate", "--store", "sqlite:shop.db"]);
    fs::write(folder.join("outbox.toml"), "store = \"sqlite:file.db\"\n").unwrap();
    let status = |arguments: &[&str], url: Option<&str>| {
        let mut command = command(folder, &[&["status"], arguments].concat());
        let output = command.envs(url.map(|url| ("DATABASE_URL", url))).output();
        let output = output.unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), errors)
    };
    let config = ["--config", "outbox.toml"];
    assert_eq!(status(&[], Some("sqlite:shop.db")).0, Some(0));
    assert_eq!(status(&config, Some("sqlite:shop.db")).0, Some(0));
    assert_eq!(
        status(&["--store", "sqlite:shop.db"], Some("sqlite:x.db")).0,
        Some(0)
    );
    let (code, errors) = status(&config, None);
    assert_eq!(code, Some(2));
    assert!(errors.contains("file.db"), "{errors}");
    let (code, errors) = status(&[], None);
    assert_eq!(code, Some(2));
    assert!(errors.contains("DATABASE_URL"), "{errors}");
    // A URL may hold a password, so the help does not show what the variable is set to.
    let help = command(folder, &["status", "--help"])
        .env("DATABASE_URL", "sqlite:secret")
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&help.stdout).contains("secret"));
}

#[test]
fn a_mistake_in_a_file_is_named_with_the_allowed_values() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    done(folder, &["migrate", "--store", "sqlite:shop.db"]);
    let cases: &[(&str, &[&str])] = &[
        (
            "stor = \"x\"",
            &["line 1", "`stor`", "`store`, `heap`, `relay`"],
        ),
        (
            "[relay]\nbatch-seize = 1",
            &["line 2", "`batch-seize`", "`batch-size`"],
        ),
        (
            "[relay]\nbatch-size = \"many\"",
            &["line 2", "many", "`batch-size`"],
        ),
        (
            "[relay]\nbatch-size = 0",
            &["line 2", "batch size is 0, but must be 1 to 10000"],
        ),
        (
            "[relay]\nconcurrency = 65",
            &["concurrency is 65, but must be 1 to 64"],
        ),
        (
            "[relay]\nlease = \"soon\"",
            &["soon", "30s or 5min", "`lease`"],
        ),
        ("[relay]\nlease = 30", &["30", "\"30s\"", "`lease`"]),
        (
            "[relay]\nlease = \"5s\"",
            &["lease", "5s", "publish timeout (10s)"],
        ),
        (
            "[relay]\nretry-max = \"0s\"",
            &["retry max", "0s", "1s to 7d"],
        ),
        (
            "[relay]\nblock-keys = \"perhaps\"",
            &["perhaps", "boolean", "`block-keys`"],
        ),
        ("store = [relay", &["line 1"]),
    ];
    for (text, reasons) in cases {
        fs::write(folder.join("bad.toml"), text).unwrap();
        let relay = ["relay", "--store", "sqlite:shop.db", "--config", "bad.toml"];
        refused(folder, &relay, 2, &[&["bad.toml"], *reasons].concat());
    }
    refused(
        folder,
        &["status", "--config", "none.toml"],
        2,
        &["none.toml"],
    );
    // The file is not blamed for what a flag sets.
    fs::write(folder.join("good.toml"), "store = \"sqlite:shop.db\"").unwrap();
    let output = command(
        folder,
        &["relay", "--config", "good.toml", "--batch-size", "0"],
    )
    .output()
    .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("batch size") && !errors.contains("good.toml"),
        "{errors}"
    );
}

#[test]
fn an_environment_variable_that_is_empty_counts_as_unset() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    fs::write(folder.join("shop.toml"), "store = \"sqlite:shop.db\"\n").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = command(folder, arguments);
        for name in [
            "DATABASE_URL",
            "OUTBOX_HEAP",
            "OUTBOX_BATCH_SIZE",
            "OUTBOX_LEASE",
            "OUTBOX_BLOCK_KEYS",
            "OUTBOX_TO",
        ] {
            command.env(name, "");
        }
        let ended = command.output().unwrap();
        let errors = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{arguments:?}: {errors}");
    };
    run(&["migrate", "--config", "shop.toml"]);
    run(&["relay", "--drain", "--config", "shop.toml"]);
    run(&["relay", "--drain", "--store", "sqlite:shop.db"]);
    run(&["completions", "bash"]);
    // The flag with an empty value is a mistake still.
    refused(folder, &["status", "--store", ""], 2, &["not a URL"]);
    let mut no_store = command(folder, &["status"]);
    let ended = no_store
        .env("DATABASE_URL", "")
        .env("OUTBOX_CONFIG", "")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(errors.contains("no store: pass --store"), "{errors}");
}
