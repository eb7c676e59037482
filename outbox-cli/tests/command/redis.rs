//! A heap in Redis. With the store on PostgreSQL: `postgres/heap.rs`.

use crate::support::{
    Running, SHOP, appended, arrived, blocking, command, done, events, json, lines, outbox,
    quarantined, refused, until,
};
use outbox_core::{DlqHeap, EventId, FailedAttempt};
use outbox_dlq_redis::redis::{Client, cmd};
use outbox_dlq_redis::{RedisConfig, RedisDlqHeap, Server};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use test_servers::{Kind, Server as Started, search_path};

const PASSWORD: &str = "hush-4711";

/// A namespace that must be percent-encoded, behind one of the test's own.
const ODD: &str = "My \"shop\" & é?";
const ODD_PARAMETER: &str = "My+%22shop%22%20%26%20%C3%A9%3F";

/// The heaps of one test on the server that all share.
pub(crate) struct Shared {
    server: String,
    case: EventId,
}

impl Shared {
    pub(crate) fn new(kind: Kind) -> Self {
        let server = test_servers::url(kind).unwrap_or_else(|error| panic!("{error}"));
        let server = match kind {
            Kind::RedisCluster => server.replace("redis:", "redis+cluster:"),
            _ => server,
        };
        let case = EventId::new();
        Self { server, case }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}?namespace={}{ODD_PARAMETER}", self.server, self.case)
    }

    pub(crate) async fn open(&self) -> RedisDlqHeap {
        let server = Server::from_url(&self.server).unwrap();
        let namespace = format!("{}{ODD}", self.case);
        RedisDlqHeap::open(RedisConfig::new(server).namespace(&namespace))
            .await
            .unwrap()
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub(crate) fn start(port: u16, settings: &[&str]) -> Started {
    Started::start_redis(&search_path(), Some(port), settings).expect("started")
}

/// Asserts that commands say why they cannot have the heap, and tell no password.
fn all_refuse(folder: &Path, commands: &[&[&str]], heap: &str, code: i32, reasons: &[&str]) {
    for arguments in commands {
        let arguments = [arguments, &["--store", SHOP, "--heap", heap][..]].concat();
        refused(folder, &arguments, code, reasons);
        let errors = outbox(folder, &arguments).stderr;
        assert!(!String::from_utf8_lossy(&errors).contains(PASSWORD));
    }
}

/// Every command that needs a heap that answers.
const COMMANDS: &[&[&str]] = &[
    &["migrate"],
    &["migrate", "status"],
    &["migrate", "check"],
    &["status"],
    &["dlq", "replay", "--all"],
];

#[test]
fn failures_are_counted_quarantined_and_forgotten_in_redis_and_in_a_cluster() {
    for kind in [Kind::Redis, Kind::RedisCluster] {
        let folder = TempDir::new().unwrap();
        let (folder, shared) = (folder.path(), Shared::new(kind));
        let url = shared.url();
        let both = |arguments: &[&str]| {
            let urls = ["--store", SHOP, "--heap", &url];
            done(folder, &[arguments, &urls].concat())
        };
        let entries = || json(&both(&["status", "--json"]))["heap_entries"].clone();
        let fail = |id| {
            blocking(async {
                let failures = vec![FailedAttempt::new(id); 3];
                let heap = shared.open().await;
                heap.record_failures(&failures).await.unwrap();
            });
        };
        let migrated = json(&both(&["migrate", "--json"]));
        assert_eq!(migrated["up_to_date"], true);
        assert_eq!(migrated["components"][1]["crate"], "outbox-dlq-redis");
        both(&["migrate", "check"]);
        assert!(both(&["migrate", "print"]).contains("needs no tables.\n"));

        fail(quarantined(folder, &events("order.placed", 1), "refused")[0]);
        assert_eq!(entries(), 1);
        both(&["dlq", "replay", "--all"]);
        assert_eq!(entries(), 0, "the replay did not forget");
        assert_eq!(both(&["relay", "--drain"]).lines().count(), 1);

        // The event is due in an hour, so only the quarantine can end this relay.
        let late = SystemTime::now() + Duration::from_secs(3600);
        let delayed = events("order.placed", 1).remove(0).available_at(late);
        appended(folder, std::slice::from_ref(&delayed));
        fail(delayed.id);
        assert_eq!(both(&["relay", "--drain", "--failure-threshold", "3"]), "");
        let dead_letter = json(&done(folder, &["dlq", "list", "--json", "--store", SHOP]));
        assert_eq!(dead_letter["event"]["id"], delayed.id.to_string());
        assert_eq!(dead_letter["failure_count"], 3);
        assert_eq!(entries(), 0, "the quarantine did not forget");
    }
}

#[test]
fn a_relay_that_starts_while_redis_is_away_delivers_and_says_so() {
    let folder = TempDir::new().unwrap();
    let (folder, port) = (folder.path(), free_port());
    appended(folder, &events("order.placed", 3));
    let heap = format!("redis://me:{PASSWORD}@127.0.0.1:{port}/");
    let relay = ["relay", "--drain", "--store", SHOP, "--heap", &heap];
    let output = outbox(folder, &relay);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    let delivered = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines(&delivered).len(), 3);
    for told in ["heap cannot be reached", &format!("127.0.0.1:{port}")] {
        assert!(errors.contains(told), "{errors}");
    }
    assert!(!errors.contains(PASSWORD), "{errors}");
}

#[test]
fn a_relay_that_starts_while_redis_runs_a_long_script_delivers_and_says_so() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let redis = start(free_port(), &["--busy-reply-threshold", "1"]);
    appended(folder, &events("order.placed", 3));
    let connect = || {
        let client = Client::open(redis.url()).unwrap();
        client.get_connection().unwrap()
    };
    let (mut other, mut admin) = (connect(), connect());
    // It ends by itself, so that a test that fails does too.
    let long = "local begun = redis.call('TIME')[1]
                while redis.call('TIME')[1] - begun < 20 do end";
    let long = std::thread::spawn(move || cmd("EVAL").arg(long).arg(0).exec(&mut other));
    until("a server that is busy", || {
        cmd("DBSIZE").exec(&mut admin).is_err()
    });
    // Only the choice of another database than 0 is refused while the connection is made.
    let heap = format!("{}3", redis.url());
    let output = outbox(
        folder,
        &["relay", "--drain", "--store", SHOP, "--heap", &heap],
    );
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    let delivered = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines(&delivered).len(), 3);
    assert!(errors.contains("busy running a script"), "{errors}");
    cmd("SCRIPT").arg("KILL").exec(&mut admin).unwrap();
    long.join().unwrap().unwrap_err();
}

#[test]
fn a_relay_delivers_while_redis_dies_and_comes_back() {
    let folder = TempDir::new().unwrap();
    let (folder, port) = (folder.path(), free_port());
    let redis = start(port, &[]);
    let url = redis.url().to_owned();
    appended(folder, &[]);
    let relay = ["relay", "--to", "file:out", "--poll-interval", "20ms"];
    let urls = ["--store", SHOP, "--heap", &url];
    let mut running = Running::start(command(folder, &[&relay[..], &urls].concat()));
    let deliver = |number| {
        appended(folder, &events("order.placed", 1));
        let out = folder.join("out");
        until("an event that arrives", || arrived(&out).len() == number);
    };
    deliver(1);
    drop(redis);
    deliver(2);
    let _back = start(port, &[]);
    deliver(3);
    running.stop();
}

#[test]
fn a_server_that_may_evict_the_counts_causes_a_warning_at_the_start() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let settings = ["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"];
    let redis = start(free_port(), &settings);
    done(folder, &["migrate", "--store", SHOP]);
    let relay = ["relay", "--drain", "--store", SHOP, "--heap", redis.url()];
    let output = outbox(folder, &relay);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    for told in ["WARN", "allkeys-lru", "noeviction", "outbox-dlq:{outbox}:"] {
        assert!(errors.contains(told), "{errors}");
    }
}

#[test]
fn a_server_that_cannot_be_used_is_named_without_the_password_and_nothing_is_made() {
    let folder = TempDir::new().unwrap();
    let (folder, port) = (folder.path(), free_port());
    let address = format!("127.0.0.1:{port}");
    let heap = format!("redis://me:{PASSWORD}@{address}/0");
    let migrate = ["migrate", "--store", SHOP, "--heap", &heap];
    refused(folder, &migrate, 1, &[&address, "refused"]);
    assert!(!folder.join("shop.db").exists(), "the store was made");
    done(folder, &["migrate", "--store", SHOP]);
    all_refuse(folder, COMMANDS, &heap, 1, &["heap", &address, "refused"]);
    let _redis = start(port, &["--requirepass", "another"]);
    all_refuse(folder, COMMANDS, &heap, 2, &["heap", &address, "WRONGPASS"]);
    let relay = ["relay", "--drain", "--store", SHOP, "--heap", &heap];
    refused(folder, &relay, 2, &[&address, "WRONGPASS"]);
}

#[test]
fn each_part_of_a_url_that_is_wrong_is_named_with_what_is_allowed() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let at = ["'@' behind its host", "%2F"];
    let long = format!("redis://h/?namespace={}", "x".repeat(256));
    let cases: &[(&str, &[&str])] = &[
        ("redis://:hush-4711@h:port/", &["heap", "allowed: sqlite:"]),
        ("redis://:hush-4711@h/many", &["heap", "database number"]),
        ("redis://:hush-4711/x@h/", &at),
        ("redis://:hush-4711?x@h/", &at),
        ("redis+sentinel://:hush-4711#x@h/shop", &at),
        ("redis://h/#hush", &["'#'", "%23"]),
        (
            "redis://h/?namespace=",
            &["namespace is \"\"", "1 to 255 bytes"],
        ),
        (
            "redis://h/?namespace=%7B",
            &["namespace is \"{\"", "without { and }"],
        ),
        (&long, &["1 to 255 bytes"]),
        ("redis://h/?namespace=%FF", &["not UTF-8"]),
        (
            "redis://h/?namespace=a&namespace=b",
            &["more than one namespace"],
        ),
        (
            "redis://h/?name_space=hush-4711",
            &["unknown parameter \"name_space\"", "allowed: namespace"],
        ),
        ("redis://h/?db=3", &["unknown parameter \"db\""]),
        (
            "redis+unix:///s?password=hush-4711",
            &[
                "unknown parameter \"password\"",
                "namespace, db, user, pass",
            ],
        ),
        ("redis+sentinel://:hush-4711@h/", &["no name of a master"]),
        ("redis+cluster://:hush-4711@h/3", &["no databases"]),
        (
            "redis+tls://:hush-4711@h/",
            &["unknown scheme \"redis+tls\"", "redis://"],
        ),
    ];
    for (heap, reasons) in cases {
        let migrations = [&["migrate"][..], &["migrate", "print"]];
        all_refuse(folder, &migrations, heap, 2, reasons);
    }
    let store = ["migrate", "--store", "redis://:hush-4711@h/"];
    refused(folder, &store, 2, &["store", "only a heap", "sqlite:"]);
    assert!(!folder.join("shop.db").exists(), "the store was made");
}

#[test]
fn a_server_is_reached_by_tls_if_its_certificate_is_known() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let redis = test_servers::tls::Redis::start().expect("started");
    let status = ["migrate", "--store", SHOP, "--heap", redis.url()];
    refused(
        folder,
        &status,
        2,
        &["heap", "127.0.0.1", "certificate", "UnknownIssuer"],
    );
    let mut known = command(folder, &status);
    let output = known
        .env("SSL_CERT_FILE", redis.authority())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
