#![doc = include_str!("../README.md")]

mod answer;
mod batch;
mod call;
mod check;
mod client;
mod config;
mod directory;
mod endpoints;
mod limits;
mod network;
mod outgoing;
mod read;
mod resolver;
mod secret;
mod target;

use async_trait::async_trait;
use call::Call;
use config::Destinations;
use config::HttpConfig as Config;
use directory::Directory;
use limits::Limits;
use outbox_core::{Event, OutboxError, PublishError, Transport, TransportCheck};
use reqwest::Client;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

pub use batch::Batch;
pub use config::HttpConfig;
pub use endpoints::{Endpoint, Endpoints, Switches};
pub use ipnet;
pub use read::{read, read_batch};
pub use reqwest;
pub use secret::Secret;

const BACKEND: &str = "http";
const OPEN: &str = "open";

/// Publishes each event as an HTTP request. Clones share connections and limits.
///
/// A call answers within the [call timeout](HttpConfig::call_timeout).
///
/// # Cancel safety
///
/// A dropped call may have published any of its events. They can be published again: an endpoint
/// recognises them by the header `webhook-id`.
#[derive(Clone)]
pub struct HttpTransport(Arc<Inner>);

struct Inner {
    config: Config,
    client: Client,
    limits: Limits,
    directory: Directory,
}

impl Inner {
    /// The name of the destination of an event.
    fn destination<'a>(&'a self, event: &'a Event) -> Cow<'a, str> {
        match &self.config.destinations {
            Destinations::Url(target) => target.destination(event),
            Destinations::Table(_, id) => id.fill(event).unwrap_or_else(|_| id.destination(event)),
        }
    }
}

impl HttpTransport {
    /// Checks the configuration, and connects to nothing. Calls need the tokio runtime with its network
    /// and its timer.
    ///
    /// With the feature `tls-rustls-ring-native-roots`, ring becomes the provider of rustls in this
    /// process if it has none yet.
    ///
    /// ```
    /// # use outbox_transport_http::{HttpConfig, HttpTransport};
    /// let config = HttpConfig::from_url("http://shop.example/hooks/{type}")?;
    /// let transport = HttpTransport::open(config.secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?))?;
    /// # Ok::<(), outbox_core::OutboxError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) for a call timeout that is not 1 ns to a day, a limit
    /// of requests that is 0, a batch that may have no event, `https` without the feature
    /// `tls-rustls-ring-native-roots`, a URL whose host is an address that is not allowed, or options of
    /// the client that cannot be used.
    pub fn open(config: impl Into<HttpConfig>) -> Result<Self, OutboxError> {
        let mut config = config.into();
        config.validate()?;
        let client = client::build(&mut config)?;
        let limits = Limits::new(config.requests, config.requests_per_endpoint);
        let directory = Directory::new(&config);
        Ok(Self(Arc::new(Inner {
            config,
            client,
            limits,
            directory,
        })))
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn publish(&self, events: &[Event]) -> Vec<Result<(), PublishError>> {
        Call::new(&self.0, events).run().await
    }

    /// The URL without its query, in which `{key}` stays as it is, or the id of the endpoint.
    fn destination<'a>(&'a self, event: &'a Event) -> Option<Cow<'a, str>> {
        Some(self.0.destination(event))
    }

    async fn check(&self) -> TransportCheck {
        check::check(&self.0).await
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpTransport")
            .field(&self.0.config)
            .finish()
    }
}
