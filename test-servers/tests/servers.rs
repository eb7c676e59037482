//! Real servers: started, used, and gone with their owner.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use support::{
    PATIENCE, SILENCE, is_empty, is_silent, kill_owner, open_folder, port, program, text,
};
use test_servers::{Error, Kind, Server, search_path};

fn ping(url: &str) -> String {
    asked(url, "PING")
}

fn asked(url: &str, command: &str) -> String {
    let address = url.trim_start_matches("redis://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).expect("connected");
    let command = format!("{command}\r\nQUIT\r\n");
    stream.write_all(command.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

#[test]
fn redis_starts_from_what_is_installed() {
    let server = Server::start(Kind::Redis, &search_path()).expect("started");
    assert_eq!(ping(server.url()), "+PONG\r\n+OK\r\n");
}

#[test]
fn a_cluster_starts_from_what_is_installed_and_is_whole() {
    let server = Server::start(Kind::RedisCluster, &search_path()).expect("started");
    let info = asked(server.url(), "CLUSTER INFO");
    for line in [
        "cluster_state:ok",
        "cluster_slots_ok:16384",
        "cluster_size:3",
    ] {
        assert!(info.contains(line), "{info}");
    }
}

#[test]
fn a_redis_comes_back_on_its_port_with_its_settings() {
    let port = || {
        let server = Server::start_redis(&search_path(), None, &["--maxmemory", "7mb"]);
        let server = server.expect("started");
        assert!(asked(server.url(), "CONFIG GET maxmemory").contains("7340032"));
        let port = server.url().trim_end_matches('/').rsplit(':').next();
        port.and_then(|port| port.parse::<u16>().ok())
    };
    let port = port().expect("a port");
    let again = Server::start_redis(&search_path(), Some(port), &[]).expect("started");
    assert_eq!(again.url(), format!("redis://127.0.0.1:{port}/"));
    assert_eq!(ping(again.url()), "+PONG\r\n+OK\r\n");
}

#[test]
fn a_killed_redis_keeps_what_it_appended() {
    let always = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut server = Server::start_redis(&search_path(), None, &always).expect("started");
    assert_eq!(asked(server.url(), "SET kept 7"), "+OK\r\n+OK\r\n");
    server.crash().expect("started again");
    assert_eq!(asked(server.url(), "GET kept"), "$1\r\n7\r\n+OK\r\n");
}

/// Asks a suspended server, which accepts the connection and does not answer.
#[test]
fn a_suspended_redis_answers_when_it_is_resumed() {
    let mut server = Server::start(Kind::Redis, &search_path()).expect("started");
    let address = server.url().trim_start_matches("redis://");
    let address = address.trim_end_matches('/').to_owned();
    server.suspend().expect("suspended");
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.write_all(b"PING\r\n").expect("asked");
    assert!(is_silent(&mut stream));
    server.resume().expect("resumed");
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).expect("answered");
    assert_eq!(&answer, b"+PONG\r\n");
}

#[test]
fn a_suspended_postgresql_answers_when_it_is_resumed() {
    let mut server = Server::start(Kind::Postgres, &search_path()).expect("started");
    server.suspend().expect("suspended");
    let mut client = psql(server.url(), "SELECT 7")
        .stdout(Stdio::piped())
        .spawn()
        .expect("psql runs");
    let mut answer = client.stdout.take().expect("a pipe");
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        answer.read_to_string(&mut text).expect("read");
        send.send(text)
    });
    assert!(receive.recv_timeout(SILENCE).is_err(), "it answers");
    server.resume().expect("resumed");
    assert_eq!(receive.recv_timeout(PATIENCE).expect("answered"), "7\n");
    assert!(client.wait().expect("ended").success());
}

/// A suspended process does not receive the signal that ends it. `rabbitmq.rs` tests
/// the same for RabbitMQ.
#[test]
fn a_suspended_server_ends_with_its_owner() {
    for kind in [Kind::Postgres, Kind::Redis, Kind::Nats] {
        let mut server = Server::start(kind, &search_path()).expect("started");
        let port = port(server.url());
        server.suspend().expect("suspended");
        drop(server);
        let connected = TcpStream::connect(("127.0.0.1", port));
        assert!(connected.is_err(), "{} is still there", kind.name());
    }
}

/// Runs in a separate process, which the next test kills: suspends a server, prints its URL, and waits.
#[test]
#[ignore = "the next test runs it"]
fn owns_a_suspended_server() {
    let mut server = Server::start(Kind::Redis, &search_path()).expect("started");
    server.suspend().expect("suspended");
    println!("\nurl {}", server.url());
    std::io::stdin()
        .read_line(&mut String::new())
        .expect("read");
}

/// The system sends SIGHUP to the supervisor, because a process of its group is stopped when the owner ends.
#[test]
fn a_suspended_server_ends_with_an_owner_that_is_killed() {
    let folder = open_folder();
    let mut owner = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--ignored",
            "--nocapture",
            "--exact",
            "owns_a_suspended_server",
        ])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run");
    let lines = BufReader::new(owner.stdout.as_mut().expect("a pipe")).lines();
    let mut lines = lines.map(|line| line.expect("a line"));
    assert!(lines.any(|line| line.starts_with("url ")), "no server");
    kill_owner(&mut owner, folder.path());
}

fn psql(url: &str, sql: &str) -> Command {
    let folders = search_path();
    let psql = folders.iter().map(|folder| folder.join("psql"));
    let psql = psql.into_iter().find(|psql| psql.is_file()).expect("psql");
    let mut command = Command::new(psql);
    command.args([url, "-Atc", sql]);
    command
}

/// What psql answers.
fn select(url: &str, sql: &str) -> String {
    let output = psql(url, sql).output().expect("psql runs");
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn postgresql_starts_from_what_is_installed_and_its_url_is_a_superusers() {
    let server = Server::start(Kind::Postgres, &search_path()).expect("started");
    let sql = "SELECT usesuper FROM pg_user WHERE usename = current_user";
    assert_eq!(select(server.url(), sql), "t\n");
}

#[test]
fn a_killed_postgresql_starts_again_with_what_was_committed() {
    let mut server = Server::start(Kind::Postgres, &search_path()).expect("started");
    select(server.url(), "CREATE TABLE kept AS SELECT 7 AS n");
    server.kill().expect("killed");
    let address = server.url().rsplit('@').next().expect("an address");
    let address = address.trim_end_matches("/postgres");
    assert!(TcpStream::connect(address).is_err(), "it still answers");
    server.restart().expect("started again");
    assert_eq!(select(server.url(), "SELECT n FROM kept"), "7\n");
}

/// A backend with much memory takes a while to end, and the server does not start before it has.
#[test]
fn a_postgresql_that_is_killed_at_work_starts_again_at_once() {
    const BACKENDS: usize = 4;
    let mut server = Server::start(Kind::Postgres, &search_path()).expect("started");
    let work = "SELECT length(repeat('x', 200000000)), pg_sleep(600)";
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    for _ in 0..3 {
        let clients: Vec<Child> = (0..BACKENDS)
            .map(|_| psql(server.url(), work).stderr(Stdio::null()).spawn())
            .map(|client| client.expect("psql runs"))
            .collect();
        let start = Instant::now();
        while select(server.url(), asleep).trim() != BACKENDS.to_string() {
            assert!(start.elapsed() < PATIENCE, "a backend does not work");
        }
        server.kill().expect("killed");
        server.restart().expect("started again");
        for mut client in clients {
            assert!(!client.wait().expect("ended").success());
        }
    }
}

#[test]
fn a_server_that_is_not_installed_is_named_with_what_would_do() {
    let error = Server::start(Kind::Postgres, &[]).expect_err("nowhere to look");
    assert!(matches!(error, Error::NotInstalled { .. }), "{error}");
    let text = error.to_string();
    for part in ["PostgreSQL", "initdb", "OUTBOX_TEST_POSTGRES_URL"] {
        assert!(text.contains(part), "{text}");
    }
    for (kind, parts) in [
        (Kind::Nats, ["NATS", "nats-server", "OUTBOX_TEST_NATS_URL"]),
        (
            Kind::RabbitMq,
            ["RabbitMQ", "rabbitmq-server", "OUTBOX_TEST_RABBITMQ_URL"],
        ),
    ] {
        let error = Server::start(kind, &[]).expect_err("nowhere to look");
        let (debian, homebrew) = kind.packages();
        let text = error.to_string();
        for part in parts {
            assert!(text.contains(part), "{text}");
        }
        assert!(text.contains(debian) || text.contains(homebrew), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn the_command_gets_all_servers_and_they_stop_after_it() {
    let folder = open_folder();
    let output = program(folder.path())
        .args([
            "sh",
            "-c",
            "echo $OUTBOX_TEST_POSTGRES_URL; echo $OUTBOX_TEST_REDIS_URL; echo $OUTBOX_TEST_REDIS_CLUSTER_URL; echo $OUTBOX_TEST_NATS_URL; exit 7",
        ])
        .output()
        .expect("run");
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    let urls = String::from_utf8_lossy(&output.stdout).into_owned();
    let urls: Vec<&str> = urls.lines().collect();
    assert!(
        urls[0].starts_with("postgres://postgres@127.0.0.1:"),
        "{urls:?}"
    );
    for url in &urls[1..=2] {
        assert!(url.starts_with("redis://127.0.0.1:"), "{urls:?}");
    }
    assert!(urls[3].starts_with("nats://127.0.0.1:"), "{urls:?}");
    let errors = text(&output);
    assert!(
        !errors.contains("RabbitMQ"),
        "started without a request for it: {errors}"
    );
    assert!(is_empty(folder.path()), "a server was left behind");
}

/// A program under way, the URL of its Redis, and what it runs under.
fn under_way(folder: &Path) -> (Child, String) {
    let mut owner = program(folder)
        .args(["sh", "-c", "echo $OUTBOX_TEST_REDIS_URL; cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run");
    let mut url = String::new();
    let mut lines = BufReader::new(owner.stdout.as_mut().expect("a pipe"));
    lines.read_line(&mut url).expect("a line");
    (owner, url.trim().to_owned())
}

#[test]
fn servers_go_with_an_owner_that_is_killed() {
    let folder = open_folder();
    let (mut owner, url) = under_way(folder.path());
    assert_eq!(ping(&url), "+PONG\r\n+OK\r\n");
    assert!(!is_empty(folder.path()));
    kill_owner(&mut owner, folder.path());
    let address = url.trim_start_matches("redis://").trim_end_matches('/');
    assert!(TcpStream::connect(address).is_err(), "it still answers");
}

#[test]
fn a_server_in_the_environment_is_used_as_it_is() {
    let folder = open_folder();
    let server = Server::start(Kind::Redis, &search_path()).expect("started");
    let postgres = Server::start(Kind::Postgres, &search_path()).expect("started");
    let output = program(folder.path())
        .env(Kind::Redis.variable(), server.url())
        .env(Kind::Postgres.variable(), postgres.url())
        .args(["sh", "-c", "echo $OUTBOX_TEST_REDIS_URL"])
        .output()
        .expect("run");
    assert!(output.status.success(), "{}", text(&output));
    let named = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(named.trim(), server.url());
    assert_eq!(ping(server.url()), "+PONG\r\n+OK\r\n", "it was stopped");
}

#[test]
fn a_server_in_the_environment_that_is_silent_is_named_without_its_password() {
    let folder = open_folder();
    // The port of a listener that is gone again.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    for (url, reason) in [
        (format!("redis://me:secret@{address}/"), &*address),
        ("secret".to_owned(), "redis://127.0.0.1:6379/"),
    ] {
        let output = program(folder.path())
            .env(Kind::Redis.variable(), url)
            .arg("true")
            .output()
            .expect("run");
        let errors = text(&output);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("OUTBOX_TEST_REDIS_URL"), "{errors}");
        assert!(errors.contains(reason), "{errors}");
        assert!(!errors.contains("secret"), "{errors}");
    }
    assert!(is_empty(folder.path()), "a server was left behind");
}
