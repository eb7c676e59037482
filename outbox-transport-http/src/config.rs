//! Which endpoints to use, and how requests are made.

use crate::batch::Batch;
use crate::endpoints::{Endpoints, Switches};
use crate::secret::Secret;
use crate::target::Target;
use crate::{BACKEND, OPEN};
use ipnet::IpNet;
use outbox_core::wire::{Mode, Template, WireForm};
use outbox_core::{OutboxError, check_call_timeout};
use reqwest::ClientBuilder;
use reqwest::dns::Resolve;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

const REQUESTS: usize = 256;
const REQUESTS_PER_ENDPOINT: usize = 8;

/// Where events go.
pub(crate) enum Destinations {
    Url(Box<Target>),
    /// The template makes the id of an endpoint.
    Table(Arc<dyn Endpoints>, Template),
}

/// The endpoints, and how requests are made. Made with [`from_url`](Self::from_url) or
/// [`from_endpoints`](Self::from_endpoints) and the setters, in any order.
#[must_use]
pub struct HttpConfig {
    pub(crate) destinations: Destinations,
    pub(crate) switches: Option<Arc<dyn Switches>>,
    pub(crate) refresh: Duration,
    pub(crate) secrets: Arc<[Secret]>,
    pub(crate) form: WireForm,
    pub(crate) batch: Option<Batch>,
    pub(crate) networks: Arc<[IpNet]>,
    pub(crate) requests: usize,
    pub(crate) requests_per_endpoint: usize,
    pub(crate) call_timeout: Duration,
    pub(crate) client: ClientBuilder,
    pub(crate) resolver: Option<Arc<dyn Resolve>>,
}

impl HttpConfig {
    /// The URL that events are sent to: `https://shop.example/hooks/{type}`.
    ///
    /// `{type}`, `{key}` and `{header:name}` stand for fields of the event. They may be behind the host
    /// only, and their values are percent-encoded, so an event changes neither the host nor the parts of
    /// the path before them. A login before the host is sent as `Authorization: Basic`.
    ///
    /// ```
    /// # use outbox_transport_http::HttpConfig;
    /// let config = HttpConfig::from_url("https://shop.example/hooks?tenant={header:tenant}")?;
    /// # Ok::<(), outbox_core::OutboxError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](outbox_core::ErrorKind::Invalid) if the URL has another form. The error shows nothing of
    /// its login, path and query, except that of a wrong placeholder.
    pub fn from_url(url: &str) -> Result<Self, OutboxError> {
        Ok(Self::to(Destinations::Url(Target::parse(url)?.into())))
    }

    /// Sends each event to the endpoint whose id the template makes from it, such as `{header:customer}`.
    ///
    /// The id is the name of the destination. An event whose endpoint is not there, or cannot be used,
    /// waits. The secrets are those of the endpoint.
    ///
    /// ```
    /// # use outbox_transport_http::{Endpoints, HttpConfig, HttpTransport};
    /// # use std::sync::Arc;
    /// # fn example(customers: Arc<dyn Endpoints>) -> Result<(), outbox_core::OutboxError> {
    /// let config = HttpConfig::from_endpoints(customers, "{header:customer}".parse()?);
    /// let transport = HttpTransport::open(config)?;
    /// # Ok(()) }
    /// ```
    pub fn from_endpoints(endpoints: Arc<dyn Endpoints>, id: Template) -> Self {
        Self::to(Destinations::Table(endpoints, id))
    }

    fn to(destinations: Destinations) -> Self {
        let agent = concat!("outbox/", env!("CARGO_PKG_VERSION"));
        Self {
            destinations,
            switches: None,
            refresh: Duration::from_secs(10),
            secrets: Arc::default(),
            form: WireForm::default(),
            batch: None,
            networks: Arc::default(),
            requests: REQUESTS,
            requests_per_endpoint: REQUESTS_PER_ENDPOINT,
            call_timeout: Duration::from_secs(10),
            client: ClientBuilder::new().user_agent(agent),
            resolver: None,
        }
    }

    /// Keeps which destinations are off. Default: nothing does, and an endpoint that answers 410 is off
    /// until the program ends.
    pub fn switches(mut self, switches: Arc<dyn Switches>) -> Self {
        self.switches = Some(switches);
        self
    }

    /// After which time endpoints and switches are read again. Default: 10 seconds.
    pub fn refresh(mut self, interval: Duration) -> Self {
        self.refresh = interval;
        self
    }

    /// Signs each request to a [URL](Self::from_url) with this secret. Default: requests are not signed.
    pub fn secret(self, secret: Secret) -> Self {
        self.secrets([secret])
    }

    /// Signs each request to a [URL](Self::from_url) with each of these secrets, while the endpoint changes from one to the next.
    pub fn secrets(mut self, secrets: impl IntoIterator<Item = Secret>) -> Self {
        self.secrets = secrets.into_iter().collect();
        self
    }

    /// The form of the requests. Default: raw.
    pub fn form(mut self, form: WireForm) -> Self {
        self.form = form;
        self
    }

    /// Sends several events in a request, which the endpoint takes or refuses as a whole. Needs the form
    /// [`CloudEventsStructured`](Mode::CloudEventsStructured). An event that such a request cannot carry
    /// whole, because its headers have other names than attributes of CloudEvents, has a request of its
    /// own. Default: one event a request.
    pub fn batch(mut self, batch: Batch) -> Self {
        self.batch = Some(batch);
        self
    }

    /// Networks that requests may go to, besides public addresses. Default: none, so that a person who names an
    /// endpoint reaches no server of yours.
    ///
    /// ```
    /// # use outbox_transport_http::HttpConfig;
    /// let config = HttpConfig::from_url("http://hooks.internal")?.allow_networks(["10.1.0.0/16".parse()?]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn allow_networks(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.networks = networks.into_iter().collect();
        self
    }

    /// How many requests may be under way at the same time, to all endpoints. Default: 256.
    pub fn requests(mut self, requests: usize) -> Self {
        self.requests = requests;
        self
    }

    /// How many requests may be under way at the same time to one endpoint, which is one destination. Less
    /// than [`requests`](Self::requests), so that an endpoint that does not answer leaves some for others.
    /// Default: 8.
    pub fn requests_per_endpoint(mut self, requests: usize) -> Self {
        self.requests_per_endpoint = requests;
        self
    }

    /// How long a call waits for its answers, up to a day. No request is started in the second half of it,
    /// so that each has at least half of the time. It should be shorter than the worker's publish timeout.
    /// Default: 10 seconds.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Options of the client, such as certificates, headers of all requests or a local address.
    ///
    /// The transport replaces those for redirects, retries, proxies, names, HTTP versions, idle connections
    /// and the time to connect. Names that are bound to addresses here (`resolve`) are not checked.
    pub fn client(mut self, client: ClientBuilder) -> Self {
        self.client = client;
        self
    }

    /// What finds the addresses of a name. They are checked too. Default: the system.
    pub fn resolver(mut self, resolver: Arc<dyn Resolve>) -> Self {
        self.resolver = Some(resolver);
        self
    }

    pub(crate) fn validate(&self) -> Result<(), OutboxError> {
        check_call_timeout(BACKEND, self.call_timeout)?;
        if self.requests_per_endpoint == 0 || self.requests < self.requests_per_endpoint {
            return Err(invalid(format!(
                "requests per endpoint are {}, but must be 1 to {}, the requests of all",
                self.requests_per_endpoint, self.requests
            )));
        }
        if self.batch.is_some() && self.form.mode() != Mode::CloudEventsStructured {
            return Err(invalid(format!(
                "form is {}, but must be {} for batches",
                self.form.mode(),
                Mode::CloudEventsStructured
            )));
        }
        match &self.destinations {
            Destinations::Url(target) => target.check(&self.networks).map_err(invalid),
            Destinations::Table(..) if self.secrets.is_empty() => Ok(()),
            Destinations::Table(..) => Err(invalid(
                "there are secrets for all endpoints, but each must have its own in the table",
            )),
        }
    }
}

pub(crate) fn invalid(problem: impl Into<String>) -> OutboxError {
    OutboxError::invalid(BACKEND, OPEN, problem)
}

impl fmt::Debug for HttpConfig {
    /// Without the secrets, and the options of the client, which may have some.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConfig")
            .field("destinations", &self.destinations)
            .field("switches", &self.switches)
            .field("refresh", &self.refresh)
            .field("form", &self.form)
            .field("batch", &self.batch)
            .field("networks", &self.networks)
            .field("requests", &self.requests)
            .field("requests_per_endpoint", &self.requests_per_endpoint)
            .field("call_timeout", &self.call_timeout)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Destinations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(target) => fmt::Debug::fmt(target, f),
            Self::Table(endpoints, id) => {
                f.debug_tuple("Table").field(endpoints).field(id).finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;

    fn config() -> HttpConfig {
        HttpConfig::from_url("http://me:hunter2@shop.example/hooks?token=hunter2").unwrap()
    }

    fn refused(config: &HttpConfig) -> String {
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_named() {
        let text = refused(&config().call_timeout(Duration::ZERO));
        assert!(text.contains("call timeout is 0ns, but must be"), "{text}");
        let text = refused(&config().requests_per_endpoint(0));
        let problem = "requests per endpoint are 0, but must be 1 to 256";
        assert!(text.contains(problem), "{text}");
        let text = refused(&config().requests(7));
        let problem = "requests per endpoint are 8, but must be 1 to 7";
        assert!(text.contains(problem), "{text}");
        let text = refused(&config().batch(Batch::Ndjson(NonZeroUsize::MIN)));
        let problem = "form is raw, but must be cloudevents-structured for batches";
        assert!(text.contains(problem), "{text}");
        let text = refused(&HttpConfig::from_url("http://127.0.0.1/x").unwrap());
        assert!(
            text.contains("address is 127.0.0.1 (loopback), but must be"),
            "{text}"
        );
        let https = HttpConfig::from_url("https://shop.example").unwrap();
        let has_tls = cfg!(feature = "tls-rustls-ring-native-roots");
        assert_eq!(https.validate().is_ok(), has_tls);
    }

    #[test]
    fn what_is_shown_has_no_secret() {
        let shown = format!("{:?}", config());
        assert!(shown.contains("shop.example/hooks"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
