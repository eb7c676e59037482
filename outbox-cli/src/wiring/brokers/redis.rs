//! Redis Streams.

use super::{Address, Broker, BrokerKind};
use crate::failure::Failure;
use crate::settings::Period;
use crate::wiring::redis::{OF_A_SOCKET, SCHEMES};
use outbox_core::Transport;
use outbox_core::wire::Template;
use outbox_transport_redis::{RedisTransport, RedisTransportConfig, Trim};
use std::sync::Arc;
use std::time::Duration;

const STREAM: &str = "stream";
const CREATE: &str = "create";
const MAXLEN: &str = "maxlen";
const MAXAGE: &str = "maxage";
const REPLICAS: &str = "replicas";
const REPLICAS_TIMEOUT: &str = "replicas_timeout";

const OURS: &[&str] = &[STREAM, CREATE, MAXLEN, MAXAGE, REPLICAS, REPLICAS_TIMEOUT];

/// How long a call waits for replicas unless the URL says it.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) const REDIS: Broker = Broker {
    kind: Some(BrokerKind::Redis),
    schemes: SCHEMES,
    ours: OURS,
    template: Some(STREAM),
    places: &[STREAM],
    ours_behind: '?',
    theirs: &[],
    open,
};

/// Before [`REDIS`], which has these schemes too: their URLs have no other place for a database and a login.
pub(super) const REDIS_SOCKET: Broker = Broker {
    schemes: &["redis+unix", "valkey+unix", "unix"],
    theirs: &[OF_A_SOCKET],
    ..REDIS
};

fn open(address: &Address) -> Result<Arc<dyn Transport>, Failure> {
    let mut config = RedisTransportConfig::from_url(address.url())?
        .form(address.form()?)
        .call_timeout(address.timeout()?)
        .create(address.parameter(CREATE)?.unwrap_or(true));
    if let Some(stream) = address.parameter::<Template>(STREAM)? {
        config = config.stream(stream);
    }
    if let Some(trim) = trim(address)? {
        config = config.trim(trim);
    }
    if let Some(replicas) = address.parameter(REPLICAS)? {
        let timeout = address.parameter::<Period>(REPLICAS_TIMEOUT)?;
        config = config.wait(replicas, timeout.map_or(PATIENCE, Into::into));
    }
    Ok(Arc::new(RedisTransport::open(config)?))
}

fn trim(address: &Address) -> Result<Option<Trim>, Failure> {
    let length = address.parameter(MAXLEN)?.map(Trim::Length);
    let age = address.parameter::<Period>(MAXAGE)?;
    let age = age.map(|age| Trim::Age(age.into()));
    if length.is_some() && age.is_some() {
        let message = format!("destination has {MAXLEN} and {MAXAGE}, but must have one of them");
        return Err(Failure::Input(message));
    }
    Ok(length.or(age))
}
