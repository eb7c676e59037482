//! A RabbitMQ server, apart from the one of the machine.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::{PATIENCE, is_empty, is_silent, kill_owner, open_folder, port, program};
use test_servers::{Error, Kind, Server, management, search_path};

/// `guest:guest` in Base64.
const GUEST: &str = "Z3Vlc3Q6Z3Vlc3Q=";

/// Status and body of an answer of the management API.
fn http(url: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port(&management(url)))).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let length = body.len();
    let request = format!(
        "{method} /api{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {GUEST}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.expect("a status"), answer)
}

fn keep_seven(url: &str) {
    let (status, answer) = http(url, "PUT", "/queues/%2f/kept", r#"{"durable":true}"#);
    assert_eq!(status, 201, "{answer}");
    let message = r#"{"properties":{"delivery_mode":2},"routing_key":"kept",
        "payload":"seven","payload_encoding":"string"}"#;
    let publish = "/exchanges/%2f/amq.default/publish";
    let (_, answer) = http(url, "POST", publish, message);
    assert!(answer.contains("\"routed\":true"), "{answer}");
}

fn kept(url: &str) -> String {
    let get = r#"{"count":1,"ackmode":"ack_requeue_true","encoding":"auto"}"#;
    http(url, "POST", "/queues/%2f/kept/get", get).1
}

/// The processes whose environment names `folder`, each with its command line.
fn processes(folder: &Path) -> Vec<String> {
    let output = Command::new("ps")
        .args(["axeww", "-o", "command="])
        .output();
    let output = output.expect("ps runs").stdout;
    let folder = folder.to_string_lossy().into_owned();
    let lines = String::from_utf8_lossy(&output).into_owned();
    let lines = lines
        .lines()
        .filter(|line| line.contains(&format!("HOME={folder}")));
    lines.map(str::to_owned).collect()
}

fn is_program(line: &str, name: &str) -> bool {
    let program = line.split(' ').next().unwrap_or_default();
    program.rsplit('/').next() == Some(name)
}

/// Two servers at once, because each start takes five seconds of a processor.
#[test]
fn rabbitmq_is_started_suspended_controlled_killed_and_stopped_next_to_another() {
    let config = "max_message_size = 1024";
    let mut server = Server::start_rabbitmq(&search_path(), config).expect("started");
    let other = Server::start(Kind::RabbitMq, &search_path()).expect("started");
    is_apart(&server, &other);
    can_be_suspended(&mut server);
    can_be_controlled(&server);
    starts_again_with_what_it_confirmed(&mut server);
    ends_while_it_is_suspended(other);
}

fn is_apart(server: &Server, other: &Server) {
    keep_seven(server.url());
    let (status, answer) = http(other.url(), "GET", "/queues/%2f/kept", "");
    assert_eq!(status, 404, "{answer}");
}

fn can_be_suspended(server: &mut Server) {
    server.suspend().expect("suspended");
    let mut stream = TcpStream::connect(("127.0.0.1", port(server.url()))).expect("connected");
    stream.write_all(b"AMQP\0\0\x09\x01").expect("asked");
    assert!(is_silent(&mut stream));
    server.resume().expect("resumed");
    let mut method = [0; 11];
    stream.read_exact(&mut method).expect("answered");
    assert_eq!(method[7..], [0, 10, 0, 10], "the method connection.start");
}

fn can_be_controlled(server: &Server) {
    let control = |arguments: &[&str]| server.rabbitmqctl(arguments);
    let alarm = || http(server.url(), "GET", "/health/checks/local-alarms", "").0;
    assert_eq!(alarm(), 200);
    control(&["set_vm_memory_high_watermark", "0"]).expect("set");
    assert_eq!(alarm(), 503);
    control(&["set_vm_memory_high_watermark", "0.4"]).expect("set");
    assert_eq!(alarm(), 200);
    control(&["add_user", "no_rights", "secret"]).expect("added");
    let rights = http(server.url(), "GET", "/users/no_rights/permissions", "").1;
    assert!(rights.ends_with("[]"), "{rights}");
    let size = control(&["environment"]).expect("answered");
    assert!(size.contains("{max_message_size,1024}"), "{size}");
    let error = control(&["add_user", "guest", "secret"]).expect_err("there already");
    assert!(matches!(error, Error::Control { .. }), "{error}");
    assert!(error.to_string().contains("add_user fails"), "{error}");
}

fn starts_again_with_what_it_confirmed(server: &mut Server) {
    let before = port(server.url());
    server.kill().expect("killed");
    assert!(TcpStream::connect(("127.0.0.1", before)).is_err());
    server.restart().expect("started again");
    assert_eq!(port(server.url()), before);
    let message = kept(server.url());
    assert!(message.contains("seven"), "{message}");
}

fn ends_while_it_is_suspended(mut server: Server) {
    let port = port(server.url());
    server.suspend().expect("suspended");
    drop(server);
    let connected = TcpStream::connect(("127.0.0.1", port));
    assert!(connected.is_err(), "it is still there");
}

/// Runs as a command of the program: prints the URL of the server, and waits.
#[test]
#[ignore = "the tests of the program run it"]
fn asks_for_rabbitmq() {
    println!(
        "\nurl {}",
        test_servers::url(Kind::RabbitMq).expect("a server")
    );
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("read");
}

/// The program under way with two commands that ask, and the URLs that they printed.
fn under_way(folder: &Path) -> (Child, [String; 2]) {
    let ask = std::env::current_exe().expect("this program");
    let ask = format!(
        "{} --ignored --nocapture --exact asks_for_rabbitmq",
        ask.display()
    );
    let mut owner = program(folder)
        .args(["sh", "-c", &format!("{ask} </dev/null; {ask}; true")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run");
    let lines = BufReader::new(owner.stdout.as_mut().expect("a pipe")).lines();
    let mut urls = lines.filter_map(|line| {
        let line = line.expect("a line");
        line.strip_prefix("url ").map(str::to_owned)
    });
    let urls = [(); 2].map(|()| urls.next().expect("a URL"));
    (owner, urls)
}

#[test]
fn rabbitmq_is_shared_by_the_tests_that_ask_and_stops_after_the_command() {
    let folder = open_folder();
    let (mut owner, [one, two]) = under_way(folder.path());
    assert_eq!(one, two);
    keep_seven(&one);
    drop(owner.stdin.take());
    assert!(owner.wait().expect("ended").success());
    assert_eq!(processes(folder.path()), [""; 0]);
    assert!(is_empty(folder.path()), "a server was left behind");
}

#[test]
fn rabbitmq_goes_with_an_owner_that_is_killed_and_starts_no_port_mapper() {
    let folder = open_folder();
    let (mut owner, [url, _]) = under_way(folder.path());
    keep_seven(&url);
    let running = processes(folder.path());
    let is_running = |name| running.iter().any(|line| is_program(line, name));
    assert!(is_running("beam.smp"), "{running:?}");
    assert!(!is_running("epmd"), "{running:?}");
    kill_owner(&mut owner, folder.path());
    assert_eq!(processes(folder.path()), [""; 0]);
}
