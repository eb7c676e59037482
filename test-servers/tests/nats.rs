//! A NATS server with JetStream.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use support::{PATIENCE, is_silent, port};
use test_servers::{Kind, Server, search_path};

/// A connection in the text protocol of NATS.
struct Client {
    stream: BufReader<TcpStream>,
    info: String,
}

impl Client {
    fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port(server.url()))).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut client = Self {
            stream: BufReader::new(stream),
            info: String::new(),
        };
        client.info = client.line();
        client.send("CONNECT {\"verbose\":false}\r\nSUB answers 1\r\n");
        client
    }

    fn send(&mut self, text: &str) {
        let stream = self.stream.get_mut();
        stream.write_all(text.as_bytes()).expect("sent");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line");
        line
    }

    /// What JetStream answers.
    fn ask(&mut self, subject: &str, text: &str) -> String {
        let length = text.len();
        self.send(&format!("PUB {subject} answers {length}\r\n{text}\r\n"));
        let head = loop {
            let line = self.line();
            if line.starts_with("MSG") {
                break line;
            }
            assert!(line.starts_with("PING"), "{line}");
        };
        let length = head.trim().rsplit(' ').next().expect("a length");
        let mut answer = vec![0; length.parse::<usize>().expect("a number") + 2];
        self.stream.read_exact(&mut answer).expect("a message");
        String::from_utf8(answer).expect("UTF-8")
    }
}

fn create_stream(client: &mut Client) {
    let stream = r#"{"name":"ORDERS","subjects":["orders.*"],"storage":"file"}"#;
    let created = client.ask("$JS.API.STREAM.CREATE.ORDERS", stream);
    assert!(!created.contains("error"), "{created}");
}

#[test]
fn nats_starts_from_what_is_installed_with_jetstream() {
    let server = Server::start(Kind::Nats, &search_path()).expect("started");
    create_stream(&mut Client::connect(&server));
}

#[test]
fn a_killed_nats_starts_again_with_what_it_acknowledged() {
    let mut server = Server::start(Kind::Nats, &search_path()).expect("started");
    let mut client = Client::connect(&server);
    create_stream(&mut client);
    for sequence in 1..=100 {
        let acknowledged = client.ask("orders.7", "seven");
        assert!(
            acknowledged.contains(&format!("\"seq\":{sequence}")),
            "{acknowledged}"
        );
    }
    let before = port(server.url());
    server.kill().expect("killed");
    assert!(TcpStream::connect(("127.0.0.1", before)).is_err());
    server.restart().expect("started again");
    assert_eq!(port(server.url()), before);
    let info = Client::connect(&server).ask("$JS.API.STREAM.INFO.ORDERS", "");
    assert!(info.contains("\"messages\":100"), "{info}");
}

#[test]
fn a_nats_has_the_settings_of_its_configuration() {
    let config = "max_payload: 1024\nauthorization { user: me, password: secret }\n";
    let server = Server::start_nats(&search_path(), config).expect("started");
    let mut client = Client::connect(&server);
    assert!(
        client.info.contains("\"max_payload\":1024"),
        "{}",
        client.info
    );
    let refused = client.line();
    assert!(refused.contains("Authorization Violation"), "{refused}");
}

#[test]
fn a_suspended_nats_answers_when_it_is_resumed() {
    let mut server = Server::start(Kind::Nats, &search_path()).expect("started");
    let mut client = Client::connect(&server);
    create_stream(&mut client);
    server.suspend().expect("suspended");
    client.send("PUB orders.7 answers 5\r\nseven\r\n");
    assert!(is_silent(client.stream.get_mut()));
    server.resume().expect("resumed");
    assert!(client.line().starts_with("MSG answers 1"));
}

#[test]
fn two_nats_run_at_once_with_their_own_streams() {
    let servers: Vec<Server> = (0..2)
        .map(|_| Server::start(Kind::Nats, &search_path()).expect("started"))
        .collect();
    create_stream(&mut Client::connect(&servers[0]));
    let missing = Client::connect(&servers[1]).ask("$JS.API.STREAM.INFO.ORDERS", "");
    assert!(missing.contains("stream not found"), "{missing}");
}
