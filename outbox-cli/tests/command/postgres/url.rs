//! URLs that are refused before a server is asked.

use super::PASSWORD;
use crate::support::{outbox, refused};
use tempfile::TempDir;

#[test]
fn each_part_of_a_url_that_is_wrong_is_named_with_what_is_allowed() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let long = format!("?schema={}", "x".repeat(64));
    let cases: &[(&str, &[&str])] = &[
        (&long, &["schema is \"xxx", "1 to 63 bytes"]),
        ("?schema=", &["schema is \"\"", "1 to 63 bytes"]),
        ("?schema=a%00", &["1 to 63 bytes without NUL"]),
        ("?schema=%FF", &["not UTF-8"]),
        ("?schema=a&schema=b", &["more than one schema"]),
        (
            "?Schema=a",
            &["unknown parameter \"Schema\"", "allowed: schema"],
        ),
        (
            "?pasword=hush-4711",
            &["unknown parameter \"pasword\"", "password"],
        ),
        ("?sslmode=perhaps", &["perhaps"]),
        ("?port=many", &["cannot be used"]),
    ];
    for (parameters, reasons) in cases {
        let store = format!("postgres://me:{PASSWORD}@127.0.0.1:1/shop{parameters}");
        told(folder, &store, reasons);
    }
    let at = ["'@' behind its host", "%2F"];
    for store in [
        "postgres://me:hush-4711/x@h/d",
        "postgresql://me:hush-4711#x@h/d",
        "postgres://me:1?hush-4711@h/d",
    ] {
        told(folder, store, &at[..]);
    }
    let hash = ["'#'", "%23"];
    told(folder, "postgres://h/d#?password=hush-4711", &hash);
    for store in [
        "host=localhost password=hush-4711",
        "host=localhost password=hush-4711:x",
        "postgres://me:hush-4711@h:port/d",
    ] {
        told(
            folder,
            store,
            &["not a URL", "postgres://USER@HOST/DATABASE"],
        );
    }
}

fn told(folder: &std::path::Path, store: &str, reasons: &[&str]) {
    for (arguments, role) in [
        (vec!["status", "--store", store], "store"),
        (
            vec![
                "migrate",
                "print",
                "--store",
                "sqlite:x.db",
                "--heap",
                store,
            ],
            "heap",
        ),
    ] {
        refused(folder, &arguments, 2, reasons);
        let errors = String::from_utf8(outbox(folder, &arguments).stderr).unwrap();
        assert!(
            errors.contains(role) || errors.contains("schema"),
            "{errors}"
        );
        assert!(!errors.contains(PASSWORD), "{errors}");
    }
}
