//! An HTTP server of the test, whose answers are bytes of the test.
#![allow(dead_code, reason = "each test program uses a part")]

use outbox_core::{Event, PublishError, PublishErrorKind, Transport};
use outbox_transport_http::reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use outbox_transport_http::{HttpConfig, HttpTransport};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// The addresses of the servers of tests.
pub(crate) const LOOPBACK: &str = "127.0.0.0/8";

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// What a server sends, and what it does then.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) then: Then,
}

#[derive(Clone, Debug)]
pub(crate) enum Then {
    /// Reads the next request of the connection.
    Next,
    Close,
    /// Closes the connection so that the client gets an error and not an end.
    Reset,
    /// Sends nothing more, and keeps the connection open.
    Hang,
    /// Sends these bytes again and again, and counts them.
    Forever(&'static [u8], Arc<AtomicUsize>),
    /// Sends these bytes when the test says so, and reads the next request.
    Late(Arc<Notify>, &'static str),
}

impl Reply {
    /// A whole response without a body.
    pub(crate) fn status(status: &str) -> Self {
        Self::with(status, "")
    }

    /// A whole response with these lines of headers.
    pub(crate) fn with(status: &str, headers: &str) -> Self {
        Self::raw(
            format!("HTTP/1.1 {status}\r\n{headers}content-length: 0\r\n\r\n"),
            Then::Next,
        )
    }

    pub(crate) fn raw(bytes: impl Into<Vec<u8>>, then: Then) -> Self {
        Self {
            bytes: bytes.into(),
            then,
        }
    }
}

/// It ends, with all connections, when it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", answer).await
    }

    pub(crate) async fn at(
        address: &str,
        answer: impl Fn(Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(accept(listener, Arc::new(answer)));
        Self { address, task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Ends it, with its connections.
    pub(crate) async fn stop(self) {
        self.task.abort();
        let mut server = self;
        let _cancelled = (&mut server.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection of TCP or TLS.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {
    /// Makes the client get an error when the connection is dropped.
    fn reset(&mut self);
}

impl Connection for TcpStream {
    fn reset(&mut self) {
        #[allow(deprecated, reason = "zero does not block")]
        self.set_linger(Some(Duration::ZERO)).expect("an option");
    }
}

async fn accept<A>(listener: TcpListener, answer: Arc<A>)
where
    A: Fn(Request) -> Reply + Send + Sync + 'static,
{
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let answer = Arc::clone(&answer);
        connections.spawn(serve(client, move |request| answer(request)));
    }
}

/// Answers the requests of one connection.
pub(crate) async fn serve(
    mut client: impl Connection,
    answer: impl Fn(Request) -> Reply + Send + Sync,
) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let request = request(&mut client, &mut read).await?;
        let Reply { bytes, then } = answer(request);
        client.write_all(&bytes).await.ok()?;
        match then {
            Then::Next => {}
            Then::Close => return Some(()),
            Then::Reset => {
                client.reset();
                return Some(());
            }
            Then::Hang => std::future::pending().await,
            Then::Forever(bytes, count) => loop {
                client.write_all(bytes).await.ok()?;
                count.fetch_add(bytes.len(), Ordering::Relaxed);
            },
            Then::Late(notify, bytes) => {
                notify.notified().await;
                client.write_all(bytes.as_bytes()).await.ok()?;
            }
        }
    }
}

/// Reads one request. `read` has what came before it, and then what came behind it.
async fn request(client: &mut impl Connection, read: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        let found = read.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        match found {
            Some(end) => break end,
            None if client.read_buf(read).await.ok()? == 0 => return None,
            None => {}
        }
    };
    let head = std::str::from_utf8(&read[..end])
        .expect("a text")
        .to_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a header");
        let name: HeaderName = name.parse().expect("a name");
        headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    let length = headers.get("content-length");
    let length = length.map_or(0, |length| {
        length.to_str().expect("a text").parse().expect("a number")
    });
    read.drain(..end + 4);
    while read.len() < length {
        if client.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
    let body = read.drain(..length).collect();
    Some(Request {
        method,
        path,
        headers,
        body,
    })
}

/// A configuration that may reach the servers of tests.
pub(crate) fn config(url: &str) -> HttpConfig {
    let loopback = LOOPBACK.parse().expect("a network");
    HttpConfig::from_url(url)
        .expect("a URL")
        .allow_networks([loopback])
}

pub(crate) fn open(config: HttpConfig) -> HttpTransport {
    HttpTransport::open(config).expect("a transport")
}

pub(crate) fn event(event_type: &str) -> Event {
    Event::new(event_type, "payload")
}

/// The kind of the error of an event that is published alone, and its text with its causes.
pub(crate) async fn publish_one(
    transport: &dyn Transport,
    event: Event,
) -> Result<(), (PublishErrorKind, String)> {
    let mut answers = transport.publish(&[event]).await;
    assert_eq!(answers.len(), 1);
    let answer = answers.pop().expect("an answer");
    answer.map_err(|error| (error.kind(), text(&error)))
}

/// An error with its causes.
pub(crate) fn text(error: &PublishError) -> String {
    let first: &dyn std::error::Error = error;
    let causes = std::iter::successors(Some(first), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}
