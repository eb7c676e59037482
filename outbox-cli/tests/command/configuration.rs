//! The settings of a relay, from files, variables and flags.

use crate::support::{appended_to, arrived, command, done, events, json, outbox, refused};
use std::fs;
use tempfile::TempDir;

#[test]
fn a_url_may_be_in_a_file_or_in_a_variable() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended_to(folder, "shop", &events("order.placed", 2));
    fs::write(folder.join("secret"), "sqlite:shop.db\r\n").unwrap();
    fs::write(folder.join("to"), "file:out\n").unwrap();
    fs::write(folder.join("empty"), "\n").unwrap();
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = command(folder, arguments);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), errors)
    };
    let secret = ("DATABASE_URL_FILE", "secret");
    let (code, errors) = run(&["relay", "--drain"], &[secret, ("OUTBOX_TO_FILE", "to")]);
    assert_eq!(
        (code, arrived(&folder.join("out")).len()),
        (Some(0), 2),
        "{errors}"
    );
    assert_eq!(
        run(&["status"], &[secret, ("OUTBOX_HEAP_FILE", "secret")]).0,
        Some(0)
    );
    assert_eq!(run(&["status"], &[secret, ("DATABASE_URL", "")]).0, Some(0));
    let flag = ["status", "--store", "sqlite:shop.db"];
    assert_eq!(run(&flag, &[("DATABASE_URL_FILE", "none")]).0, Some(0));
    let refusals = [
        (
            &[secret, ("DATABASE_URL", "sqlite:x")][..],
            "DATABASE_URL and DATABASE_URL_FILE are set",
        ),
        (
            &[("DATABASE_URL_FILE", "none")],
            "DATABASE_URL_FILE: cannot read none",
        ),
        (
            &[("DATABASE_URL_FILE", "empty")],
            "empty is empty, but must hold a URL",
        ),
    ];
    for (variables, reason) in refusals {
        let (code, errors) = run(&["status"], variables);
        assert!(code == Some(2) && errors.contains(reason), "{errors}");
    }
    let text = "[[store]]\nname = \"a\"\nurl = { env = \"SHOP\" }\nto = { file = \"to\" }\n";
    fs::write(folder.join("outbox.toml"), text).unwrap();
    let status = ["status", "--config", "outbox.toml"];
    assert_eq!(run(&status, &[("SHOP", "sqlite:shop.db")]).0, Some(0));
    let (code, errors) = run(&status, &[]);
    assert!(
        code == Some(2) && errors.contains("line 3: `url`: the variable SHOP is not set"),
        "{errors}"
    );
}

#[test]
fn the_effective_settings_are_shown_with_their_sources_and_without_passwords() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let text = "[relay]\nlease = \"40s\"\nlog-format = \"json\"\n[[store]]\nname = \"shop\"\n\
                url = \"postgres://me:hidden@db.example/shop\"\nheap = \"redis://:hidden@cache.example/\"\n\
                to = \"nats://me:hidden@nats.example\"\ntemplate = \"a.{type}\"\nbatch-size = 7\n";
    fs::write(folder.join("outbox.toml"), text).unwrap();
    let show = [
        "config",
        "show",
        "--config",
        "outbox.toml",
        "--heap-page",
        "9",
    ];
    let run = |more: &[&str]| {
        let mut command = command(folder, &[&show[..], more].concat());
        let output = command.env("OUTBOX_CONCURRENCY", "3").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run(&[]);
    assert!(
        !text.contains("hidden") && text.contains("name = \"shop\""),
        "{text}"
    );
    let value = json(&run(&["--json"]));
    assert!(!value.to_string().contains("hidden"), "{value}");
    let expected = [
        (
            "url",
            "postgres://me@db.example/shop?schema=outbox",
            "outbox.toml",
        ),
        (
            "heap",
            "redis://cache.example/?namespace=outbox",
            "outbox.toml",
        ),
        ("to", "nats://nats.example", "outbox.toml, line 8"),
        ("template", "a.{type}", "outbox.toml, line 9"),
        ("lease", "40s", "outbox.toml, line 2"),
        ("batch-size", "7", "outbox.toml, line 10"),
        ("concurrency", "3", "environment"),
        ("heap-page", "9", "flag"),
        ("retry-max", "5min", "default"),
        ("log-format", "json", "outbox.toml, line 3"),
    ];
    for (key, wanted, source) in expected {
        let found = &value["settings"][key];
        let shown = found["value"].to_string();
        assert_eq!(shown.trim_matches('"'), wanted, "{key}");
        assert_eq!(found["source"], source, "{key}");
    }
    let value = json(&run(&["--json", "--log-format", "text"]));
    let expected = json(r#"{"source":"flag","value":"text"}"#);
    assert_eq!(value["settings"]["log-format"], expected);
}

#[test]
fn a_secret_that_is_in_the_url_itself_is_not_shown() {
    let folder = TempDir::new().unwrap();
    for (to, shown) in [
        ("https://h/x#secret=whsec_hidden", "https://h/x#secret=***"),
        ("https://h/x#secret=env:A", "https://h/x#secret=env%3AA"),
        (
            "webhooks:{key}#query=file:q&database=postgres://me:hidden@h/d",
            "webhooks:{key}#query=file%3Aq&database=***",
        ),
    ] {
        let show = [
            "config", "show", "--json", "--store", "sqlite:a", "--to", to,
        ];
        let value = json(&done(folder.path(), &show));
        assert_eq!(value["settings"]["to"]["value"], shown);
    }
}

#[test]
fn a_check_refuses_what_a_relay_would_refuse_and_asks_no_server() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let store = "[[store]]\nname = \"a\"\nurl = \"postgres://me:hidden@203.0.113.1/shop\"\n";
    fs::write(
        folder.join("good.toml"),
        format!("{store}to = \"nats://203.0.113.1\"\n"),
    )
    .unwrap();
    let good = done(
        folder,
        &["config", "check", "--json", "--config", "good.toml"],
    );
    assert_eq!(json(&good)["stores"], 1);
    assert_eq!(json(&good)["connections"]["least"], 3);
    for (text, reason) in broken_files(store).into_iter().chain(broken_relays(store)) {
        fs::write(folder.join("bad.toml"), &text).unwrap();
        for command in [&["config", "check"][..], &["relay"]] {
            let ended = outbox(folder, &[command, &["--config", "bad.toml"]].concat());
            let errors = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(2), "{text}: {errors}");
            assert!(errors.contains(reason), "{text}: {errors}");
            assert!(!errors.contains("hidden"), "{text}: {errors}");
            let names_file =
                text.is_empty() || !text.contains("store]]") || errors.contains("bad.toml");
            assert!(names_file, "{errors}");
        }
    }
    fs::write(folder.join("bad.toml"), b"store = \"\xff\"").unwrap();
    refused(
        folder,
        &["config", "check", "--config", "bad.toml"],
        2,
        &["bad.toml"],
    );
    refused(
        folder,
        &["config", "check", "--config", "."],
        2,
        &["configuration file ."],
    );
}

/// Files that are wrong by themselves, and a part of what is said of each. `store` is a good table.
fn broken_files(store: &str) -> Vec<(String, &'static str)> {
    let two = |more: &str| format!("{store}{more}[[store]]\nname = \"b\"\nurl = \"sqlite:b.db\"\n");
    vec![
        (String::new(), "no store"),
        ("store = 1".to_owned(), "line 1: `store`: it must be a URL"),
        (
            "store = \"sqlite:a\"\nstore = \"sqlite:b\"".to_owned(),
            "line 2: duplicate key",
        ),
        ("store = []".to_owned(), "line 1: `store` has no table"),
        (
            "store = [1]".to_owned(),
            "line 1: `store` must be a URL or tables",
        ),
        (
            "store = \"sqlite:a\"\nrelay = 1".to_owned(),
            "line 2: `relay` must be a table",
        ),
        ("[relays]\n".to_owned(), "line 1: unknown key `relays`"),
        ("store = \"me@db\"".to_owned(), "is not a URL"),
        (
            "store = \"oracle://db\"".to_owned(),
            "unknown scheme \"oracle\"",
        ),
        ("store = \"sqlite::memory:\"".to_owned(), "in memory"),
        (
            store.replace("shop\"", "shop?x=hidden\""),
            "line 1: store a: store has the unknown parameter \"x\"",
        ),
        (
            store.replace("\"a\"", "\"a b\""),
            "line 1: the name of the store is \"a b\"",
        ),
        (
            store.replace("\"a\"", "\"\""),
            "line 1: the name of the store is \"\"",
        ),
        (store.replace("name", "nam"), "line 2: unknown key `nam`"),
        (store.replace("url", "uri"), "line 3: unknown key `uri`"),
        (
            format!("{store}{store}"),
            "line 4: the store \"a\" of line 1 has the same name",
        ),
        (
            format!("{store}{}", store.replace("\"a\"", "\"b\"")),
            "the stores a and b have the same tables",
        ),
        (
            format!("heap = \"sqlite:h\"\n{store}"),
            "line 1: `heap` is that of one store",
        ),
        (
            two("heap = \"sqlite:./b.db\"\n"),
            "the stores a and b have the same heap",
        ),
        (
            two("heap = \"redis://r\"\n") + "heap = \"redis://me:hidden@r\"\n",
            "the stores a and b have the same heap",
        ),
        (
            two("to = \"file:out\"\n") + "to = \"file:./out\"\n",
            "the stores a and b write to the same file",
        ),
    ]
}

/// Files with settings that cannot be used, and a part of what is said of each.
fn broken_relays(store: &str) -> Vec<(String, &'static str)> {
    vec![
        (
            format!("{store}to = \"ftp://x\"\n"),
            "line 1: store a: destination has the unknown scheme",
        ),
        (
            format!("{store}to = \"nats://x?subject=a b\"\ntemplate = \"c\"\n"),
            "more than one subject",
        ),
        (
            format!("{store}to = \"stdout://\"\ntemplate = \"c\"\n"),
            "a stdout: destination has no such parameter",
        ),
        (
            format!("{store}form = \"xml\"\nto = \"nats://x\"\n"),
            "form=\"xml\"",
        ),
        (
            format!("{store}to = \"nats://x?timeout=20s\"\n"),
            "shorter than the publish timeout",
        ),
        (
            format!("{store}connections = 9\n"),
            "line 4: `connections` is of the process",
        ),
        (
            format!("[relay]\nconnections = 2\n{store}"),
            "connections is 2, but must be 3 or more",
        ),
        (
            format!("{store}lease = \"1s\"\nbatch-size = 0\n"),
            "line 5: [[store]]: ",
        ),
        (
            format!("{store}drain-timeout = \"0s\"\n"),
            "drain timeout is 0s",
        ),
        (
            format!("{store}url = {{ file = 'x', env = 'y' }}\n"),
            "line 4: duplicate key",
        ),
        (
            store
                .replace("\"postgres", "{ envv = \"postgres")
                .replace("shop\"", "shop\" }"),
            "line 3: `url`: it must be a URL",
        ),
        (
            "\u{feff}store = \"sqlite:a\"\n[relay\n".to_owned(),
            "line 2: ",
        ),
    ]
}
