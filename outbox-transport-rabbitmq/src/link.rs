//! One connection to the broker, and its channels.

use crate::config::RabbitMqConfig;
use crate::socket::Socket;
use futures_util::{Stream, StreamExt};
use lapin::options::ConfirmSelectOptions;
use lapin::tcp::AsyncTcpStream;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionStatus, Event};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The most calls that publish at the same time. Others wait.
const MOST_CHANNELS: u16 = 64;

/// Whether the broker takes messages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Health {
    Open,
    /// With the broker's reason.
    Blocked(String),
    /// With the cause.
    Lost(String),
}

/// A connection, and channels in confirm mode for one call at a time.
///
/// Calls share no channel: lapin numbers a publish and queues it in two steps, so that two tasks could
/// get each other's confirms, and an error of a channel rejects all that is in flight on it.
#[derive(Debug)]
pub(crate) struct Link {
    connection: Connection,
    socket: Socket,
    idle: Mutex<Vec<Channel>>,
    permits: Arc<Semaphore>,
    health: watch::Receiver<Health>,
    confirms: AtomicU64,
    is_silent: AtomicBool,
}

impl Link {
    /// Opens a connection. A dropped future closes it, also in the middle of its handshake.
    pub(crate) async fn open(config: &RabbitMqConfig) -> lapin::Result<Self> {
        let runtime = lapin::runtime::default_runtime()?;
        let AMQPUri {
            scheme, authority, ..
        } = &config.uri;
        let address = (&*authority.host, authority.port);
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host(address).await?.collect();
        let mut stream = AsyncTcpStream::connect(&runtime, addresses).await?;
        let socket = match &stream {
            AsyncTcpStream::Plain(plain) => Socket::of(plain.get_ref())?,
            _ => Socket::default(),
        };
        let handshake = Handshake(Some(socket));
        if *scheme == AMQPScheme::AMQPS {
            stream = stream
                .into_tls(&authority.host, config.tls.as_ref())
                .await?;
        }
        // For each connection that it fails to open, lapin keeps memory and two tasks until the process ends. So
        // it gets a connected stream: an outage of the broker costs nothing.
        let stream = Mutex::new(Some(stream));
        let connect = async move |_, _| {
            let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into())
        };
        let (uri, properties) = (config.uri.clone(), config.properties.clone());
        let connection = Connection::connector(uri, runtime, connect, properties).await?;
        Ok(Self::on(connection, handshake.finish()))
    }

    fn on(connection: Connection, socket: Socket) -> Self {
        let (sender, health) = watch::channel(Health::Open);
        let events = connection.events_listener();
        tokio::spawn(watch_events(events, connection.status().clone(), sender));
        let most = connection.configuration().channel_max().div_ceil(2);
        let most = most.clamp(1, MOST_CHANNELS);
        Self {
            connection,
            socket,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(most.into())),
            health,
            confirms: AtomicU64::new(0),
            is_silent: AtomicBool::new(false),
        }
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    pub(crate) fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Waits until the broker takes no more messages, and returns why.
    pub(crate) async fn trouble(&self) -> Health {
        let mut health = self.health.clone();
        let changed = health.wait_for(|health| *health != Health::Open).await;
        match changed {
            Ok(health) => health.clone(),
            Err(_) => Health::Lost("the connection ended".to_owned()),
        }
    }

    /// How many confirms have come.
    pub(crate) fn confirms(&self) -> u64 {
        self.confirms.load(Relaxed)
    }

    pub(crate) fn count_confirms(&self, count: usize) {
        self.confirms.fetch_add(count as u64, Relaxed);
    }

    /// Lets the connection end without a farewell, for which it would wait as long as the broker is
    /// silent.
    pub(crate) fn set_silent(&self) {
        self.is_silent.store(true, Relaxed);
    }

    /// A channel in confirm mode for one call.
    pub(crate) async fn lease(self: &Arc<Self>) -> lapin::Result<Lease> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let idle = self.take_idle();
        let channel = if let Some(channel) = idle {
            channel
        } else {
            let channel = self.connection.create_channel().await?;
            let options = ConfirmSelectOptions::default();
            channel.confirm_select(options).await?;
            channel
        };
        let link = Arc::clone(self);
        Ok(Lease {
            channel,
            link,
            _permit: permit.ok(),
        })
    }

    fn take_idle(&self) -> Option<Channel> {
        let mut idle = self.idle();
        while let Some(channel) = idle.pop() {
            if channel.status().connected() {
                return Some(channel);
            }
        }
        None
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if self.is_silent.load(Relaxed) {
            self.socket.close();
        }
    }
}

/// A channel that no other call uses.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) channel: Channel,
    link: Arc<Link>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Lease {
    /// Keeps the channel for a later call. All confirms must have come. A lease that is dropped closes
    /// its channel.
    pub(crate) fn give_back(self) {
        self.link.idle().push(self.channel);
    }
}

/// Closes the socket of a connection that is dropped before it is open.
struct Handshake(Option<Socket>);

impl Handshake {
    fn finish(mut self) -> Socket {
        self.0.take().unwrap_or_default()
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            socket.close();
        }
    }
}

async fn watch_events(
    events: impl Stream<Item = Event>,
    status: ConnectionStatus,
    health: watch::Sender<Health>,
) {
    let mut events = pin!(events);
    while let Some(event) = events.next().await {
        let now = match event {
            Event::ConnectionBlocked(reason) => Health::Blocked(reason),
            Event::ConnectionUnblocked => Health::Open,
            // Errors of channels come here too.
            Event::Error(error) if !status.connected() => Health::Lost(error.to_string()),
            _ => continue,
        };
        tracing::debug!(health = ?now, "the connection to RabbitMQ changed");
        if health.send(now).is_err() {
            return;
        }
    }
}
