//! What the tests share: a client in the text protocol of NATS, which has nothing of the driver.

#![allow(dead_code, reason = "each test uses a part")]

use outbox_core::wire::{self, Binding};
use outbox_core::{Event, PublishError, PublishErrorKind, Transport, TransportCheck};
use outbox_transport_nats::{NatsConfig, NatsTransport};
use std::error::Error;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use test_servers::{Server, search_path};

const PATIENCE: Duration = Duration::from_secs(30);

/// A connection in the text protocol of NATS.
pub(crate) struct Raw {
    stream: BufReader<TcpStream>,
    pub(crate) info: String,
}

/// A message as it came.
pub(crate) struct Raised {
    pub(crate) subject: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    pub(crate) fn connect(url: &str) -> Self {
        Self::login(url, "")
    }

    /// `login` is JSON, such as `"user":"me","pass":"secret",`.
    pub(crate) fn login(url: &str, login: &str) -> Self {
        let address = url.rsplit(['/', '@']).next().expect("an address");
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut raw = Self {
            stream: BufReader::new(stream),
            info: String::new(),
        };
        raw.info = raw.line();
        raw.send(&format!(
            "CONNECT {{{login}\"verbose\":false,\"headers\":true,\"no_responders\":true}}\r\n"
        ));
        raw
    }

    pub(crate) fn send(&mut self, text: &str) {
        let stream = self.stream.get_mut();
        stream.write_all(text.as_bytes()).expect("sent");
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line");
        line
    }

    pub(crate) fn subscribe(&mut self, subject: &str) {
        self.send(&format!("SUB {subject} 7\r\nPING\r\n"));
        while !self.line().starts_with("PONG") {}
    }

    /// The next message.
    pub(crate) fn message(&mut self) -> Raised {
        loop {
            let line = self.line();
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |back: usize| {
                words[words.len() - back]
                    .parse::<usize>()
                    .expect("a length")
            };
            match words.first().copied() {
                Some("MSG") => return self.body(words[1], 0, number(1)),
                Some("HMSG") => return self.body(words[1], number(2), number(1)),
                Some("PING") => self.send("PONG\r\n"),
                Some("PONG" | "INFO") => {}
                _ => panic!("expected a message, came {line:?}"),
            }
        }
    }

    fn body(&mut self, subject: &str, head: usize, total: usize) -> Raised {
        let mut bytes = vec![0; total + 2];
        self.stream.read_exact(&mut bytes).expect("a message");
        bytes.truncate(total);
        let body = bytes.split_off(head);
        let head = String::from_utf8(bytes).expect("headers");
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_owned(), value.to_owned())
        };
        let lines = head.split("\r\n").skip(1).filter(|line| !line.is_empty());
        Raised {
            subject: subject.to_owned(),
            headers: lines.map(header).collect(),
            body,
        }
    }

    /// What JetStream answers to a request.
    pub(crate) fn ask(&mut self, subject: &str, text: &str) -> String {
        static INBOXES: AtomicU64 = AtomicU64::new(0);
        let inbox = format!(
            "_INBOX.raw.{}.{}",
            std::process::id(),
            INBOXES.fetch_add(1, Relaxed)
        );
        let length = text.len();
        self.send(&format!(
            "SUB {inbox} 1\r\nUNSUB 1 1\r\nPUB {subject} {inbox} {length}\r\n{text}\r\n"
        ));
        // A message of a stream may come first, if it was added after its consumer was made.
        loop {
            let answer = self.message();
            if answer.subject == inbox {
                return String::from_utf8(answer.body).expect("UTF-8");
            }
        }
    }

    pub(crate) fn create_stream(&mut self, name: &str, subjects: &str, more: &str) {
        let created = self.ask(
            &format!("$JS.API.STREAM.CREATE.{name}"),
            &config(name, subjects, more),
        );
        assert!(!created.contains("\"error\""), "{created}");
    }

    pub(crate) fn update_stream(&mut self, name: &str, subjects: &str, more: &str) {
        let updated = self.ask(
            &format!("$JS.API.STREAM.UPDATE.{name}"),
            &config(name, subjects, more),
        );
        assert!(!updated.contains("\"error\""), "{updated}");
    }

    pub(crate) fn delete_stream(&mut self, name: &str) {
        let deleted = self.ask(&format!("$JS.API.STREAM.DELETE.{name}"), "");
        let is_gone = ["\"success\":true", "stream not found"];
        assert!(
            is_gone.iter().any(|text| deleted.contains(text)),
            "{deleted}"
        );
    }

    /// How many messages a stream has.
    pub(crate) fn count(&mut self, name: &str) -> usize {
        let info = self.ask(&format!("$JS.API.STREAM.INFO.{name}"), "");
        number(&info, "\"messages\":").unwrap_or_else(|| panic!("{info}"))
    }

    /// All messages of a stream, in its order. None if the stream does not exist.
    pub(crate) fn messages(&mut self, name: &str) -> Vec<Raised> {
        static CONSUMERS: AtomicU64 = AtomicU64::new(0);
        let number_of = CONSUMERS.fetch_add(1, Relaxed);
        let inbox = format!("_INBOX.read.{}.{number_of}", std::process::id());
        let consumer = format!(
            "{{\"stream_name\":\"{name}\",\"config\":{{\"deliver_subject\":\"{inbox}\",\
             \"ack_policy\":\"none\",\"deliver_policy\":\"all\",\"replay_policy\":\"instant\"}}}}"
        );
        let created = self.ask(&format!("$JS.API.CONSUMER.CREATE.{name}"), &consumer);
        if created.contains("stream not found") {
            return Vec::new();
        }
        let pending = number(&created, "\"num_pending\":").unwrap_or_else(|| panic!("{created}"));
        let id = quoted(&created, "\"name\":\"").expect("a name");
        // Nothing is delivered before there is a subscription.
        self.send(&format!("SUB {inbox} 2\r\n"));
        let messages = (0..pending).map(|_| self.message()).collect();
        self.send("UNSUB 2\r\n");
        self.ask(&format!("$JS.API.CONSUMER.DELETE.{name}.{id}"), "");
        messages
    }

    /// The events of a stream, in its order.
    pub(crate) fn events(&mut self, name: &str) -> Vec<Event> {
        self.messages(name).into_iter().map(Raised::event).collect()
    }
}

impl Raised {
    pub(crate) fn event(self) -> Event {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_str()));
        wire::read(Binding::Nats, None, headers, self.body.into()).expect("an event")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }
}

fn config(name: &str, subjects: &str, more: &str) -> String {
    let mut config = format!("{{\"name\":\"{name}\",\"subjects\":[\"{subjects}\"]");
    if !more.contains("\"storage\"") {
        config.push_str(",\"storage\":\"file\"");
    }
    let comma = if more.is_empty() { "" } else { "," };
    write!(config, "{comma}{more}}}").expect("a text");
    config
}

fn number(json: &str, name: &str) -> Option<usize> {
    let (_, rest) = json.split_once(name)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn quoted<'j>(json: &'j str, name: &str) -> Option<&'j str> {
    let (_, rest) = json.split_once(name)?;
    Some(rest.split_once('"')?.0)
}

/// A server of this test alone.
pub(crate) fn server(config: &str) -> Server {
    Server::start_nats(&search_path(), config).unwrap_or_else(|error| panic!("{error}"))
}

/// A transport with the subject `outbox.{type}`.
pub(crate) fn open(url: &str, call_timeout: Duration) -> NatsTransport {
    let config = NatsConfig::from_url(url)
        .expect("a URL")
        .call_timeout(call_timeout);
    NatsTransport::open(config).expect("opened")
}

pub(crate) fn event(event_type: &str) -> Event {
    Event::new(event_type, "x")
}

pub(crate) async fn publish(transport: &NatsTransport, event: &Event) -> Result<(), PublishError> {
    let mut answers = transport.publish(std::slice::from_ref(event)).await;
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

pub(crate) fn kind(answer: &Result<(), PublishError>) -> Option<PublishErrorKind> {
    answer.as_ref().err().map(PublishError::kind)
}

pub(crate) fn about(answer: &Result<(), PublishError>) -> Option<&str> {
    answer.as_ref().err().and_then(PublishError::destination)
}

/// All texts of an error.
pub(crate) fn text(error: &PublishError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

pub(crate) fn reason(answer: &Result<(), PublishError>) -> String {
    answer.as_ref().err().map(text).unwrap_or_default()
}

pub(crate) fn problems(check: &TransportCheck) -> Vec<(PublishErrorKind, Option<&str>)> {
    let problems = check.problems.iter();
    problems
        .map(|error| (error.kind(), error.destination()))
        .collect()
}
