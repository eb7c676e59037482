//! URLs of destinations that are refused before a broker is asked, and brokers that are away.

use super::{PASSWORD, checked, port_of_no_server};
use crate::support::{SHOP, appended, command, done, json, outbox, refused};
use std::path::Path;
use tempfile::TempDir;

#[test]
fn each_part_of_a_url_that_is_wrong_is_named_with_what_is_allowed() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &[]);
    let at = ["'@' behind its host", "%2F"];
    let cases: &[(&str, &[&str])] = &[
        (
            "mqtt://me:hush-4711@h",
            &["unknown scheme \"mqtt\"", "nats://", "amqp://"],
        ),
        ("me:hush-4711@h", &["destination", "stdout://"]),
        ("nats://me:hush-4711/x@h", &at),
        ("amqp://me:hush-4711#x@h/v", &at),
        ("redis://h/#hush-4711", &["'#'", "%23"]),
        (
            "nats://me:hush-4711@h?subjekt=hush-4711",
            &[
                "unknown parameter \"subjekt\"",
                "allowed: subject, form, source, timeout",
            ],
        ),
        (
            "amqp://h?verify=hush-4711",
            &[
                "unknown parameter \"verify\"",
                "exchange, routing_key, unroutable, form, source, timeout, heartbeat",
            ],
        ),
        (
            "redis://h?db=hush-4711",
            &[
                "unknown parameter \"db\"",
                "stream, create, maxlen, maxage, replicas, replicas_timeout, form",
            ],
        ),
        (
            "redis+unix:///s?password=hush-4711",
            &["unknown parameter \"password\"", "timeout, db, user, pass"],
        ),
        (
            "postgres://h/d?pasword=hush-4711",
            &[
                "unknown parameter \"pasword\"",
                "form, source, timeout, schema, pgbouncer, sslmode",
            ],
        ),
        ("nats://h?subject=a&subject=b", &["more than one subject"]),
        ("nats://h?subject=%FF", &["not UTF-8"]),
        (
            "nats://h?subject=a.{typ}",
            &["subject=\"a.{typ}\"", "character 3", "{type}"],
        ),
        ("nats://h?subject=a..b", &["\"a..b\"", "empty part"]),
        (
            "nats://h?form=cloud",
            &["form=\"cloud\"", "raw, cloudevents-binary"],
        ),
        ("nats://h?source=%20", &["source=\" \"", "URI-reference"]),
        (
            "nats://h?timeout=soon",
            &["timeout=\"soon\"", "30s or 5min"],
        ),
        (
            "nats://h?timeout=10s",
            &["timeout 10s", "shorter than the publish timeout (10s)"],
        ),
        ("nats://h?timeout=0s", &["timeout"]),
        (
            "nats://me:hush-4711@h:port",
            &["server 1", "host with a port"],
        ),
        ("amqp://me:hush-4711@h:port", &["cannot be read", "amqp://"]),
        (
            "amqp://h?unroutable=keep",
            &["unroutable=\"keep\"", "wait or drop"],
        ),
        ("redis://:hush-4711@h/many", &["database number"]),
        ("redis://h?maxlen=many", &["maxlen=\"many\""]),
        (
            "redis://h?maxlen=1&maxage=1h",
            &["maxlen and maxage", "one of them"],
        ),
        ("redis://h?replicas=0", &["replicas is 0", "at least 1"]),
        ("redis+sentinel://:hush-4711@h/", &["no name of a master"]),
        (
            "postgres://h/d?schema=",
            &["schema is \"\"", "1 to 63 bytes"],
        ),
        ("postgres://h/d?sslmode=perhaps", &["perhaps"]),
    ];
    check_refused(folder, cases);
}

/// Kafka is in a build with a feature, and any other build names that.
#[test]
fn a_url_of_kafka_is_refused_by_the_part_that_is_wrong_or_by_the_feature_that_is_off() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    appended(folder, &[]);
    let cases: &[(&str, &[&str])] = &[
        (
            "kafka://h/orders?acks=hush-4711",
            &[
                "unknown parameter \"acks\"",
                "form, source, timeout, client.id, compression.type",
            ],
        ),
        #[cfg(not(feature = "kafka"))]
        (
            "kafka://me:hush-4711@h:9092,i:9092/orders",
            &["leaves out", "--features kafka"],
        ),
        #[cfg(feature = "kafka")]
        (
            "kafka://me:hush-4711@h:9092,/orders",
            &["no list of brokers", "broker-1:9092"],
        ),
        #[cfg(all(feature = "kafka", not(feature = "kafka-tls")))]
        ("kafkas://me:hush-4711@h/orders", &["tls-openssl"]),
    ];
    check_refused(folder, cases);
}

/// Each URL is refused for these reasons, by a check and by a relay.
fn check_refused(folder: &Path, cases: &[(&str, &[&str])]) {
    for (to, reasons) in cases {
        for arguments in [
            &["check", "--to", to][..],
            &["relay", "--drain", "--store", SHOP, "--to", to],
        ] {
            refused(folder, arguments, 2, reasons);
            let errors = String::from_utf8(outbox(folder, arguments).stderr).unwrap();
            assert!(!errors.contains(PASSWORD), "{errors}");
        }
    }
}

#[test]
fn a_demo_needs_a_broker_and_a_migration_needs_tables() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    for to in ["stdout://", "https://h"] {
        let demo = ["demo", "--to", to];
        refused(folder, &demo, 2, &["not a broker", "nats://"]);
    }
    for to in ["nats://h", "sqlite:x.db", "https://h"] {
        let migrate = ["migrate", "--to", to];
        refused(folder, &migrate, 2, &["no tables", "postgres://"]);
    }
}

#[test]
fn a_broker_that_is_away_is_a_problem_in_every_scheme() {
    let folder = TempDir::new().unwrap();
    let port = port_of_no_server();
    let host = format!("127.0.0.1:{port}");
    for (scheme, path) in [
        #[cfg(feature = "kafka")]
        ("kafka", "/orders"),
        ("nats", ""),
        ("tls", ""),
        ("amqp", "/%2f"),
        ("amqps", "/%2f"),
        ("redis", "/0"),
        ("rediss", "/0"),
        ("redis+sentinel", "/shop"),
        ("redis+cluster", ""),
        ("postgres", "/shop"),
    ] {
        let to = format!("{scheme}://me:{PASSWORD}@{host}{path}?timeout=2s");
        let found = checked(folder.path(), &to, 3);
        assert_eq!(found["problems"][0]["kind"], "unavailable", "{to}: {found}");
        assert_eq!(found["destination"], format!("{scheme}://{host}{path}"));
    }
    let socket = format!("redis+unix:///none/s?pass={PASSWORD}");
    let found = checked(folder.path(), &socket, 3);
    assert_eq!(found["destination"], "redis+unix:///none/s");
}

#[test]
fn a_check_of_stdout_or_a_file_says_whether_a_relay_could_write_to_it() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    assert_eq!(checked(folder, "stdout://", 0)["destination"], "stdout://");
    let plain = done(folder, &["check", "--to", "file:out"]);
    assert_eq!(plain, "destination  file:out\nready        yes\n");
    for (to, kind, reason) in [
        ("file:none/out", "misconfigured", "none/out"),
        ("file:.", "misconfigured", "directory"),
    ] {
        let found = checked(folder, to, 3);
        assert_eq!(found["problems"][0]["kind"], kind);
        let error = found["problems"][0]["error"].as_str().unwrap();
        assert!(error.contains(reason), "{error}");
    }
    let locked = std::fs::File::open(folder.join("out")).unwrap();
    locked.lock().unwrap();
    let found = checked(folder, "file:out", 3);
    assert_eq!(found["problems"][0]["kind"], "unavailable", "{found}");
}

#[test]
fn a_check_reads_the_environment_and_the_file_as_the_relay_does_and_help_shows_no_value() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let text = format!("[relay]\nto = \"nats://me:{PASSWORD}@h?timeout=20s\"\n");
    std::fs::write(folder.join("outbox.toml"), text).unwrap();
    let from_file = ["check", "--config", "outbox.toml"];
    refused(
        folder,
        &from_file,
        2,
        &["timeout 20s", "publish timeout (10s)"],
    );
    let mut from_environment = command(folder, &["check", "--json"]);
    let output = from_environment
        .env("OUTBOX_TO", "file:out")
        .output()
        .unwrap();
    let found = json(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(found["destination"], "file:out");
    for help in [["check", "--help"], ["relay", "--help"]] {
        let mut help = command(folder, &help);
        let secret = format!("nats://me:{PASSWORD}@h");
        let output = help.env("OUTBOX_TO", secret).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.contains("OUTBOX_TO") && !text.contains(PASSWORD),
            "{text}"
        );
    }
}
