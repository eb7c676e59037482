//! A transport over TCP passes the cases of its connection, with a proxy as its only ability.

use async_trait::async_trait;
use outbox_conformance::transport::{TransportFixture, WireFixture};
use outbox_conformance::{TcpWire, Wire};
use outbox_core::{Event, EventId, PublishError, PublishErrorKind, Transport};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::timeout;

/// The transport's own limit of a call.
const TIMEOUT: Duration = Duration::from_millis(500);

/// A broker that takes an id a line, and answers with the same line.
struct Lines {
    server: SocketAddr,
    wire: TcpWire,
    received: Arc<Mutex<Vec<EventId>>>,
}

impl Lines {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = listener.local_addr().expect("an address");
        let received = Arc::<Mutex<Vec<EventId>>>::default();
        let kept = Arc::clone(&received);
        thread::spawn(move || {
            for client in listener.incoming() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || serve(&client?, &kept));
            }
        });
        let wire = TcpWire::to(server).expect("a free port");
        Self {
            server,
            wire,
            received,
        }
    }
}

fn serve(mut client: &TcpStream, kept: &Mutex<Vec<EventId>>) -> io::Result<()> {
    for line in BufReader::new(client.try_clone()?).lines() {
        let line = line?;
        // A line that was cut does not parse as an id.
        let id = line.parse().map_err(io::Error::other)?;
        kept.lock().expect("no panic").push(id);
        client.write_all(format!("{line}\n").as_bytes())?;
    }
    Ok(())
}

#[derive(Debug)]
struct LineTransport {
    broker: SocketAddr,
    connection: AsyncMutex<Option<BufStream<tokio::net::TcpStream>>>,
}

impl LineTransport {
    fn to(broker: SocketAddr) -> Arc<dyn Transport> {
        let connection = AsyncMutex::default();
        Arc::new(Self { broker, connection })
    }

    /// Adds an answer for each event that the broker has confirmed.
    async fn send(
        &self,
        events: &[Event],
        answers: &mut Vec<Result<(), PublishError>>,
    ) -> io::Result<()> {
        let mut slot = self.connection.lock().await;
        // A call that fails or is dropped leaves no connection to the next one.
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => BufStream::new(tokio::net::TcpStream::connect(self.broker).await?),
        };
        for event in events {
            let line = format!("{}\n", event.id);
            connection.write_all(line.as_bytes()).await?;
        }
        connection.flush().await?;
        for event in events {
            let mut line = String::new();
            connection.read_line(&mut line).await?;
            if line != format!("{}\n", event.id) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            answers.push(Ok(()));
        }
        *slot = Some(connection);
        Ok(())
    }
}

#[async_trait]
impl Transport for LineTransport {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        let mut answers = Vec::new();
        let _ = timeout(TIMEOUT, self.send(events, &mut answers)).await;
        let unavailable = PublishError::new(PublishErrorKind::Unavailable);
        answers.resize(events.len(), Err(unavailable));
        answers
    }

    fn keeps_order(&self) -> bool {
        true
    }
}

#[async_trait]
impl TransportFixture for Lines {
    async fn transport(&self) -> Arc<dyn Transport> {
        LineTransport::to(self.server)
    }

    async fn received(&self) -> Vec<Event> {
        let received = self.received.lock().expect("no panic").clone();
        let event = |id| Event::new("conformance.line", "").id(id);
        received.into_iter().map(event).collect()
    }

    fn answers_within(&self) -> Duration {
        TIMEOUT * 4
    }
}

#[async_trait]
impl WireFixture for Lines {
    async fn wired(&self) -> Arc<dyn Transport> {
        LineTransport::to(([127, 0, 0, 1], self.wire.port()).into())
    }

    fn wire(&self) -> &dyn Wire {
        &self.wire
    }
}

outbox_conformance::transport_suite!(tcp, Lines::new(), cancellation, wire);
