//! A namespace of a Redis server, of the master that sentinels name, or of a cluster.

use super::backend::{Backend, Store};
use super::examine::{self, Finding};
use super::role::{HEAP, Role};
use super::switches::SwitchTable;
use crate::failure::Failure;
use async_trait::async_trait;
use outbox_core::{DlqHeap, ErrorKind, OutboxError};
use outbox_dlq_redis::{RedisConfig, RedisDlqHeap, Server};
use std::sync::Arc;
use url::form_urlencoded;

pub(super) const SCHEMES: &[&str] = &[
    "redis",
    "rediss",
    "valkey",
    "valkeys",
    "redis+unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
];

/// The parameter that is ours; the driver has none of this name.
const NAMESPACE: &str = "namespace";

/// As the schema of PostgreSQL.
const DEFAULT: &str = "outbox";

/// What the URL of a socket has no other place for. The driver would pass over others.
pub(super) const OF_A_SOCKET: &[&str] = &["db", "user", "pass"];

#[derive(Debug)]
pub(crate) struct Namespace {
    url: String,
    name: String,
    shown: String,
}

impl Namespace {
    /// Reads a URL whose scheme is known, and asks no server.
    pub(super) fn parse(role: Role, text: &str) -> Result<Self, Failure> {
        let (scheme, rest) = text.split_once(':').unwrap_or_default();
        let scheme = scheme.to_ascii_lowercase();
        if role != HEAP {
            return Err(role.refused(format_args!(
                "has the scheme {scheme:?} of Redis, where only a heap can be"
            )));
        }
        let text = &*format!("{scheme}:{rest}");
        HEAP.whole_login(text)?;
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let socket = address.starts_with("redis+unix:");
        let (name, parameters) = take_namespace(query, if socket { OF_A_SOCKET } else { &[] })?;
        let url = format!("{address}{parameters}");
        RedisConfig::new(server(&url)?)
            .namespace(&name)
            .validate()?;
        let (scheme, behind) = address.split_once("://").unwrap_or(("redis", address));
        let place = behind.rsplit('@').next().unwrap_or_default();
        Ok(Self {
            url,
            name,
            shown: format!("{scheme}://{place}"),
        })
    }

    fn config(&self) -> Result<RedisConfig, Failure> {
        Ok(RedisConfig::new(server(&self.url)?).namespace(&self.name))
    }

    fn failed(&self, error: &OutboxError) -> Failure {
        let text = format!("heap: cannot use {}: {}", self.shown, error);
        match error.kind() {
            ErrorKind::Invalid => Failure::Input(text),
            _ => Failure::Failed(text),
        }
    }
}

#[async_trait]
impl Backend for Namespace {
    fn role(&self) -> Role {
        HEAP
    }

    fn identity(&self) -> String {
        format!("redis {} {}", self.shown, self.name)
    }

    fn shown(&self) -> String {
        format!("{}?{NAMESPACE}={}", self.shown, self.name)
    }

    fn package(&self) -> &'static str {
        "outbox-dlq-redis"
    }

    async fn store(&self, _: bool) -> Result<Store, Failure> {
        Err(HEAP.refused(format_args!("in Redis is not a store")))
    }

    /// The heap, after its server has answered.
    async fn heap(&self) -> Result<Arc<dyn DlqHeap>, Failure> {
        let opened = RedisDlqHeap::open(self.config()?).await;
        Ok(Arc::new(opened.map_err(|error| self.failed(&error))?))
    }

    /// Each call tries a server again that cannot be reached.
    async fn heap_for_relay(&self) -> Result<Arc<dyn DlqHeap>, Failure> {
        let heap = RedisDlqHeap::open(self.config()?.lazy()).await?;
        match heap.check().await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Unavailable => tracing::warn!(
                server = self.shown,
                %error,
                "the heap cannot be reached: events are delivered, and failures are counted when it is \
                 back"
            ),
            Err(error) => return Err(self.failed(&error)),
        }
        Ok(Arc::new(heap))
    }

    async fn inbox(&self) -> Result<(), Failure> {
        Err(HEAP.refused(format_args!("in Redis is not an inbox")))
    }

    async fn switches(&self) -> Result<Arc<dyn SwitchTable>, OutboxError> {
        let problem = "destinations are switched in a store, but Redis is none";
        Err(OutboxError::invalid("redis", "open", problem))
    }

    /// Checks that the server can be used: there are no tables.
    async fn migrate(&self) -> Result<(), Failure> {
        self.heap().await.map(drop)
    }

    async fn applied(&self) -> Result<Option<usize>, Failure> {
        self.heap().await?;
        Ok(Some(0))
    }

    fn known(&self) -> usize {
        0
    }

    async fn examine(&self, _: bool) -> Result<Vec<Finding>, Failure> {
        let opened = RedisDlqHeap::open(self.config()?).await;
        let examined = match opened {
            Ok(heap) => examine::redis_heap(&heap).await,
            Err(error) => Err(error),
        };
        examined.map_err(|error| self.failed(&error))
    }

    fn script(&self) -> String {
        "-- The heap is in Redis, and needs no tables.".to_owned()
    }
}

fn server(url: &str) -> Result<Server, Failure> {
    Server::from_url(url).map_err(|error| HEAP.refused(format_args!("cannot be used: {error}")))
}

/// The namespace, and the parameters of the driver as a part of a URL.
fn take_namespace(query: &str, allowed: &[&str]) -> Result<(String, String), Failure> {
    let mut namespace = None;
    let mut parameters = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name == NAMESPACE {
            // It replaces bytes that are not UTF-8.
            if value.contains(char::REPLACEMENT_CHARACTER) {
                let why = format_args!("has a namespace {value:?} that is not UTF-8");
                return Err(HEAP.refused(why));
            }
            if namespace.replace(value.into_owned()).is_some() {
                return Err(HEAP.refused(format_args!("names more than one namespace")));
            }
        } else if allowed.contains(&&*name) {
            parameters.append_pair(&name, &value);
        } else {
            return Err(unknown(&name, allowed));
        }
    }
    let parameters = match parameters.finish() {
        none if none.is_empty() => none,
        some => format!("?{some}"),
    };
    Ok((namespace.unwrap_or_else(|| DEFAULT.to_owned()), parameters))
}

/// Without the value, which may be a password.
fn unknown(parameter: &str, allowed: &[&str]) -> Failure {
    let role = HEAP.name();
    let allowed = [&[NAMESPACE], allowed].concat().join(", ");
    Failure::Input(format!(
        "{role} has the unknown parameter {parameter:?}; allowed: {allowed}"
    ))
}
