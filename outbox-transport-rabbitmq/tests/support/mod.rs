//! A place for one test at a broker, and what the management API says about it. The API is the
//! independent client: nothing is read back through lapin.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outbox_core::wire::{self, Binding, Template, WireForm};
use outbox_core::{Event, EventId};
use outbox_transport_rabbitmq::{RabbitMqConfig, RabbitMqTransport};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use test_servers::management;

pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn template(text: &str) -> Template {
    text.parse().expect("a template")
}

/// The management API of a broker.
#[derive(Clone, Debug)]
pub struct Broker {
    pub url: String,
}

impl Broker {
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }

    pub fn port(&self) -> u16 {
        let (_, host) = self.url.rsplit_once('@').expect("a login");
        let port = host
            .split('/')
            .next()
            .and_then(|host| host.rsplit_once(':'));
        port.expect("a port").1.parse().expect("a number")
    }

    /// The URL of the broker for another login, and over another port.
    pub fn as_user(login: &str, port: u16) -> String {
        format!("amqp://{login}@127.0.0.1:{port}/%2f")
    }

    /// Status and body of an answer.
    pub fn http(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let start = Instant::now();
        loop {
            match self.try_http(method, path, &body.to_string()) {
                Ok(answer) => return answer,
                Err(error) => assert!(start.elapsed() < PATIENCE, "{method} {path}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn try_http(&self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, Value)> {
        let url = management(&self.url);
        let (login, host) = url["http://".len()..].rsplit_once('@').expect("a login");
        let mut stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (login, length) = (STANDARD.encode(login), body.len());
        let request = format!(
            "{method} /api{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {login}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n\
             {body}"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = serde_json::from_slice(&answer[end + 4..]).unwrap_or(Value::Null);
        Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body))
    }

    pub fn put(&self, path: &str, body: &Value) {
        let (status, answer) = self.http("PUT", path, body);
        assert!(matches!(status, 201 | 204), "PUT {path}: {status} {answer}");
    }

    pub fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.http("POST", path, body);
        assert!(
            matches!(status, 200 | 201),
            "POST {path}: {status} {answer}"
        );
        answer
    }

    pub fn delete(&self, path: &str) {
        let (status, answer) = self.http("DELETE", path, &Value::Null);
        assert!(
            matches!(status, 204 | 404),
            "DELETE {path}: {status} {answer}"
        );
    }
}

/// An exchange with a queue, for one test.
#[derive(Debug)]
pub struct Place {
    pub broker: Broker,
    pub name: String,
    /// The arguments of the queue.
    arguments: Value,
    taken: Mutex<Vec<Value>>,
}

impl Place {
    /// A topic exchange, and a queue that gets the types `conformance.…`, both with the same name.
    pub fn new(broker: Broker) -> Self {
        Self::with_queue(broker, json!({}))
    }

    pub fn with_queue(broker: Broker, arguments: Value) -> Self {
        let place = Self {
            broker,
            name: format!("t-{}", EventId::new()),
            arguments,
            taken: Mutex::default(),
        };
        place.put_queue(&place.name, &place.arguments);
        place.put_exchange();
        place
    }

    pub fn put_exchange(&self) {
        let path = format!("/exchanges/%2f/{}", self.name);
        self.broker
            .put(&path, &json!({"type": "topic", "durable": true}));
        self.bind(&self.name, "conformance.#");
    }

    pub fn remove_exchange(&self) {
        self.broker.delete(&format!("/exchanges/%2f/{}", self.name));
    }

    pub fn put_queue(&self, queue: &str, arguments: &Value) {
        let body = json!({"durable": true, "arguments": arguments});
        self.broker.put(&format!("/queues/%2f/{queue}"), &body);
    }

    pub fn remove_queue(&self) {
        self.received_messages();
        self.broker.delete(&format!("/queues/%2f/{}", self.name));
    }

    /// Makes the queue again, with other arguments.
    pub fn replace_queue(&self, arguments: &Value) {
        self.remove_queue();
        self.put_queue(&self.name, arguments);
        self.bind(&self.name, "conformance.#");
    }

    pub fn restore_queue(&self) {
        self.replace_queue(&self.arguments);
    }

    pub fn bind(&self, queue: &str, key: &str) {
        let path = format!("/bindings/%2f/e/{}/q/{queue}", self.name);
        self.broker.post(&path, &json!({"routing_key": key}));
    }

    pub fn unbind(&self, key: &str) {
        let key = key.replace('#', "%23");
        let name = &self.name;
        self.broker
            .delete(&format!("/bindings/%2f/e/{name}/q/{name}/{key}"));
    }

    /// A transport to the exchange.
    pub fn config(&self) -> RabbitMqConfig {
        self.config_at(&self.broker.url)
    }

    pub fn config_at(&self, url: &str) -> RabbitMqConfig {
        let config = RabbitMqConfig::from_url(url).expect("a URL");
        config.exchange(template(&self.name))
    }

    pub fn transport(&self) -> RabbitMqTransport {
        RabbitMqTransport::open(self.config()).expect("a valid config")
    }

    pub fn transport_with(&self, form: &WireForm) -> RabbitMqTransport {
        RabbitMqTransport::open(self.config().form(form.clone())).expect("a valid config")
    }

    /// All messages that came so far, taken from the queue through the management API.
    pub fn received_messages(&self) -> Vec<Value> {
        self.received_of(&self.name)
    }

    pub fn received_of(&self, queue: &str) -> Vec<Value> {
        let path = format!("/queues/%2f/{queue}/get");
        let get = json!({"count": 5000, "ackmode": "ack_requeue_false", "encoding": "base64"});
        let mut taken = self.taken.lock().expect("no panic");
        loop {
            let (status, answer) = self.broker.http("POST", &path, &get);
            let messages = answer.as_array().cloned().unwrap_or_default();
            assert!(matches!(status, 200 | 404), "{status} {answer}");
            if messages.is_empty() {
                return taken.clone();
            }
            taken.extend(messages);
        }
    }

    pub fn received(&self) -> Vec<Event> {
        self.received_messages().iter().map(event).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for kind in ["queues", "exchanges"] {
            let path = format!("/{kind}/%2f/{}", self.name);
            let _ = self.broker.try_http("DELETE", &path, "");
        }
    }
}

/// The event of a message that the management API returned.
pub fn event(message: &Value) -> Event {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let properties = &message["properties"];
    let headers: Vec<(String, String)> =
        properties["headers"]
            .as_object()
            .map_or_else(Vec::new, |headers| {
                headers
                    .iter()
                    .map(|(name, value)| (name.clone(), text(value)))
                    .collect()
            });
    let headers = headers.iter().map(|(name, value)| (&**name, &**value));
    let body = STANDARD.decode(text(&message["payload"])).expect("Base64");
    let content_type = properties["content_type"].as_str();
    wire::read(Binding::Amqp, content_type, headers, body.into()).expect("an event")
}
