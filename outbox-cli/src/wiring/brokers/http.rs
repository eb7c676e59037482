//! HTTP endpoints.

use super::{Address, Broker};
use crate::failure::Failure;
use crate::wiring::backend_within;
use crate::wiring::role::SWITCHES;
use crate::wiring::switches::LazySwitches;
use outbox_core::Transport;
use outbox_transport_http::ipnet::IpNet;
use outbox_transport_http::{Batch, HttpConfig, HttpTransport, Secret, Switches};
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::{env, fs};

const SECRET: &str = "secret";
const ALLOW: &str = "allow";
const BATCH: &str = "batch";
const REQUESTS: &str = "requests";
const REQUESTS_PER_ENDPOINT: &str = "requests_per_endpoint";

/// The parameters that are not about one endpoint.
pub(super) const OURS_OF_ALL: [&str; 4] = [ALLOW, BATCH, REQUESTS, REQUESTS_PER_ENDPOINT];

pub(super) const HTTP: Broker = Broker {
    kind: None,
    schemes: &["http", "https"],
    ours: &[SECRET, ALLOW, BATCH, REQUESTS, REQUESTS_PER_ENDPOINT],
    // The query is the endpoint's, with any names.
    template: None,
    places: &[],
    ours_behind: '#',
    theirs: &[],
    open,
};

fn open(address: &Address) -> Result<Arc<dyn Transport>, Failure> {
    let mut config = configured(HttpConfig::from_url(address.url())?, address)?;
    config = config.secrets(secrets(address)?);
    if let Some(switches) = switches(address)? {
        config = config.switches(switches);
    }
    Ok(Arc::new(HttpTransport::open(config)?))
}

/// The options that are not about one endpoint.
pub(super) fn configured(config: HttpConfig, address: &Address) -> Result<HttpConfig, Failure> {
    let mut config = config
        .form(address.form()?)
        .call_timeout(address.timeout()?);
    if let Some(Networks(networks)) = address.parameter(ALLOW)? {
        config = config.allow_networks(networks);
    }
    if let Some(Named(batch)) = address.parameter(BATCH)? {
        config = config.batch(batch);
    }
    if let Some(requests) = address.parameter(REQUESTS)? {
        config = config.requests(requests);
    }
    if let Some(requests) = address.parameter(REQUESTS_PER_ENDPOINT)? {
        config = config.requests_per_endpoint(requests);
    }
    Ok(config)
}

/// The table of the relay's store.
pub(super) fn switches(address: &Address) -> Result<Option<Arc<dyn Switches>>, Failure> {
    let Some(url) = address.store() else {
        return Ok(None);
    };
    let backend = backend_within(SWITCHES, url, address.pools())?;
    Ok(Some(Arc::new(LazySwitches::new(backend))))
}

/// Reads the secrets from where the URL says. No error shows one, also not one that is in the URL.
fn secrets(address: &Address) -> Result<Vec<Secret>, Failure> {
    let Some(place) = address.value(SECRET) else {
        return Ok(Vec::new());
    };
    let text = if let Some(name) = place.strip_prefix("env:") {
        env::var(name).map_err(|error| refused(&format!("variable {name:?}: {error}")))?
    } else if let Some(path) = place.strip_prefix("file:") {
        fs::read_to_string(path).map_err(|error| refused(&format!("file {path:?}: {error}")))?
    } else {
        return Err(refused("it must be env:NAME or file:PATH"));
    };
    let secrets: Result<Vec<Secret>, _> = text.split_whitespace().map(str::parse).collect();
    let secrets = secrets.map_err(|error| refused(&error.to_string()))?;
    if secrets.is_empty() {
        return Err(refused("there is none, but must be one or more, in lines"));
    }
    Ok(secrets)
}

fn refused(why: &str) -> Failure {
    Failure::Input(format!(
        "destination has a secret that cannot be used: {why}"
    ))
}

struct Networks(Vec<IpNet>);

impl FromStr for Networks {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let networks: Result<_, _> = text.split(',').map(str::parse).collect();
        networks
            .map(Self)
            .map_err(|_| "it must be networks such as 10.0.0.0/8,fd00::/8")
    }
}

struct Named(Batch);

impl FromStr for Named {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (form, most) = text.split_once(':').unwrap_or_default();
        let most = most.parse::<NonZeroUsize>();
        match (form, most) {
            ("cloudevents", Ok(most)) => Ok(Self(Batch::CloudEvents(most))),
            ("ndjson", Ok(most)) => Ok(Self(Batch::Ndjson(most))),
            _ => Err("it must be cloudevents:EVENTS or ndjson:EVENTS, with 1 or more"),
        }
    }
}
