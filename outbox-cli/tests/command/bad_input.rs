//! Files and values that are refused: one line, and nothing half done.

use crate::support::{SHOP, done, events, open, outbox, quarantined, refused};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Every command that opens a store.
pub(crate) const COMMANDS: &[&[&str]] = &[
    &["migrate"],
    &["migrate", "status"],
    &["migrate", "check"],
    &["relay", "--drain"],
    &["status"],
    &["dlq", "list"],
    &["dlq", "show", "01900000-0000-7000-8000-000000000000"],
    &["dlq", "stats"],
    &["dlq", "export"],
    &["dlq", "replay", "--all"],
    &["dlq", "purge", "--all", "--yes"],
];

/// Asserts that each command but some refuses the file with these reasons, and leaves it as it is.
fn all_refuse(folder: &Path, file: &str, but: &[&[&str]], reasons: &[&str]) {
    let before = contents(folder);
    let store = format!("sqlite:{file}");
    for command in COMMANDS.iter().filter(|command| !but.contains(command)) {
        let arguments = [command, &["--store", &store][..]].concat();
        refused(folder, &arguments, 2, reasons);
        assert!(before == contents(folder), "{command:?} changed something");
    }
}

/// All files, but those of SQLite's that say nothing once no process has them open.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .filter(|path| !path.to_string_lossy().ends_with("-shm"))
        .map(|path| (path.clone(), fs::read(path).ok()))
        .collect()
}

#[test]
fn a_missing_file_is_made_by_a_migration_alone() {
    let folder = TempDir::new().unwrap();
    all_refuse(
        folder.path(),
        "none.db",
        &[&["migrate"]],
        &["does not exist", "migrat"],
    );
    all_refuse(
        folder.path(),
        "no/folder.db",
        &[],
        &["no/folder.db", "does not exist"],
    );
}

#[test]
fn a_sqlite_url_means_what_it_means_to_sqlx_and_sqlite() {
    for (url, file) in [
        ("sqlite:shop.db?mode=rwc", "shop.db"),
        ("sqlite://shop.db", "shop.db"),
        ("SQLite:shop.db", "shop.db"),
        ("sqlite:my%20shop.db", "my shop.db"),
        ("sqlite:my shop.db", "my shop.db"),
        ("sqlite:50%25.db", "50%.db"),
        ("sqlite:what%3F.db", "what?.db"),
        ("sqlite:no%231.db", "no#1.db"),
        ("sqlite:%20shop.db%20", " shop.db "),
    ] {
        let folder = TempDir::new().unwrap();
        done(folder.path(), &["migrate", "--store", url]);
        assert!(folder.path().join(file).exists(), "{url}");
        done(folder.path(), &["migrate", "check", "--store", url]);
        let other = contents(folder.path());
        assert_eq!(other.len(), 1, "{url}: {:?}", other.keys());
    }
}

#[cfg(unix)]
#[test]
fn a_path_that_is_not_utf_8_is_written_with_percent_signs() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let folder = TempDir::new().unwrap();
    let url = "sqlite:caf%E9.db";
    done(folder.path(), &["migrate", "--store", url]);
    let path = folder.path().join(OsStr::from_bytes(b"caf\xe9.db"));
    assert!(path.exists());
    done(folder.path(), &["status", "--store", url]);
    let mut raw = crate::support::command(folder.path(), &["status", "--store"]);
    let ended = raw
        .arg(OsStr::from_bytes(b"sqlite:caf\xe9.db"))
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(
        errors.contains("%E9") && errors.lines().count() == 1,
        "{errors}"
    );
}

#[test]
fn a_sqlite_url_that_means_no_file_is_refused_and_creates_none() {
    let folder = TempDir::new().unwrap();
    for (url, reasons) in [
        ("sqlite::memory:", &["in memory"][..]),
        ("sqlite://:memory:", &["in memory"]),
        ("sqlite:", &["names no file"]),
        ("sqlite:?mode=rwc", &["names no file"]),
        ("sqlite:file:shop.db", &["'file:'"]),
        ("sqlite:shop.db ", &["blank", "%20"]),
        ("sqlite:shop.db%00", &["path that no file can have"]),
        ("sqlite:50%.db", &["path that no file can have", "%25"]),
        ("sqlite:shop%zz.db", &["path that no file can have", "%25"]),
        ("sqlite:shop.db#old", &["'#'", "%23"]),
        (
            "sqlite:shop.db?mode=ro",
            &["mode=ro, but mode must be rw or rwc"],
        ),
        (
            "sqlite:shop.db?mode=memory",
            &["mode=memory, but mode must be"],
        ),
        (
            "sqlite:shop.db?cache=shared",
            &["parameter \"cache\"", "%3F"],
        ),
        ("sqlite:shop.db?mode=rw", &["shop.db", "mode=rwc"]),
    ] {
        for role in [
            &["--store", url][..],
            &["--store", "sqlite:x/y.db", "--heap", url],
        ] {
            let arguments = [&["migrate"], role].concat();
            // A store in a folder that does not exist creates nothing either.
            if role.len() == 2 {
                refused(folder.path(), &arguments, 2, reasons);
            } else {
                refused(folder.path(), &arguments, 2, &[]);
            }
        }
    }
    assert!(contents(folder.path()).is_empty());
}

#[test]
fn a_file_that_is_read_only_is_refused() {
    let folder = TempDir::new().unwrap();
    done(folder.path(), &["migrate", "--store", SHOP]);
    let path = folder.path().join("shop.db");
    // Root may write it nevertheless, so the command goes by the mode itself.
    let mut mode: Permissions = fs::metadata(&path).unwrap().permissions();
    mode.set_readonly(true);
    fs::set_permissions(&path, mode).unwrap();
    all_refuse(folder.path(), "shop.db", &[], &["shop.db", "read-only"]);
}

#[test]
fn a_folder_and_a_file_of_another_kind_are_refused() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    all_refuse(
        folder.path(),
        "folder",
        &[],
        &["folder", "is a folder, but must be a file"],
    );
    let folder = TempDir::new().unwrap();
    let notes = "notes, and no database, but long enough to be read ".repeat(100);
    fs::write(folder.path().join("notes.txt"), notes).unwrap();
    all_refuse(
        folder.path(),
        "notes.txt",
        &[],
        &["notes.txt", "not a SQLite file"],
    );
}

#[test]
fn a_foreign_table_of_our_name_is_refused_and_stays_as_it_is() {
    let folder = TempDir::new().unwrap();
    let connection = open(folder.path());
    connection
        .execute_batch("CREATE TABLE outbox_events (theirs); INSERT INTO outbox_events VALUES (1)")
        .unwrap();
    drop(connection);
    let migrations = [&["migrate"][..], &["migrate", "status"]];
    all_refuse(
        folder.path(),
        "shop.db",
        &migrations,
        &["no outbox tables", "outbox migrate"],
    );
    let before = fs::read(folder.path().join("shop.db")).unwrap();
    for migration in migrations {
        let arguments = [migration, &["--store", SHOP]].concat();
        refused(
            folder.path(),
            &arguments,
            2,
            &["outbox_events", "of another program"],
        );
        assert_eq!(fs::read(folder.path().join("shop.db")).unwrap(), before);
    }
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let folder = TempDir::new().unwrap();
    quarantined(folder.path(), &events("order.placed", 1), "refused");
    open(folder.path())
        .execute_batch(
            "DELETE FROM outbox_migrations WHERE version > 1;
             UPDATE outbox_migrations SET version = 99, min_compatible = 99",
        )
        .unwrap();
    all_refuse(
        folder.path(),
        "shop.db",
        &[],
        &["version 99", "knows ", "newer program"],
    );
}

#[test]
fn each_value_out_of_range_is_named_with_what_is_allowed() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let ids = quarantined(folder, &events("order.placed", 1), "refused");
    let id = ids[0].to_string();
    let before = fs::read(folder.join("shop.db")).unwrap();
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["dlq", "list", "--limit", "0"],
            &["'0'", "--limit", "from 1"],
        ),
        (
            &["dlq", "stats", "--limit", "0"],
            &["'0'", "--limit", "from 1"],
        ),
        (&["dlq", "list", "--limit", "-1"], &["-1"]),
        (&["dlq", "list", "--before", "soon"], &["soon", "--before"]),
        (
            &["dlq", "list", "--store", "mysql://root:secret@x"],
            &["mysql", "sqlite:PATH"],
        ),
        (
            &["dlq", "replay", "--all", "--heap", "mysql://root:secret@x"],
            &["heap", "mysql", "sqlite:PATH"],
        ),
        (&["dlq", "replay", &id, "--type", "x"], &["--type"]),
        (
            &["dlq", "purge", "--all", "--key", "x"],
            &["--all", "--key"],
        ),
        (
            &["relay", "--lease", "9s"],
            &["lease", "9s", "publish timeout (10s)"],
        ),
        (&["relay", "--lease", "soon"], &["soon", "30s or 5min"]),
        (
            &["relay", "--failure-threshold", "0"],
            &["failure threshold", "at least 1"],
        ),
        (&["relay", "--block-keys=perhaps"], &["perhaps", "boolean"]),
        (
            &["relay", "--to", "mqtt://root:secret@x"],
            &["scheme \"mqtt\"", "stdout://"],
        ),
        (&["migrate", "sideways"], &["sideways", "status"]),
    ];
    for (arguments, reasons) in cases {
        let store: &[&str] = if arguments.contains(&"--store") {
            &[]
        } else {
            &["--store", SHOP]
        };
        let arguments = [arguments, store].concat();
        refused(folder, &arguments, 2, reasons);
        let errors = String::from_utf8(outbox(folder, &arguments).stderr).unwrap();
        assert!(!errors.contains("secret"), "{errors}");
    }
    assert_eq!(fs::read(folder.join("shop.db")).unwrap(), before);
}
