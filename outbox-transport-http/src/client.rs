//! The client of all requests.

use crate::config::{HttpConfig, invalid};
use crate::resolver::{Checked, System};
use outbox_core::OutboxError;
use reqwest::{Client, redirect, retry};
use std::sync::Arc;
use std::time::Duration;

/// Some servers close a connection that is idle for 5 seconds. A request that is on its way then is lost.
const IDLE: Duration = Duration::from_secs(4);

/// Takes the options of the client, and sets those that are not to be changed.
pub(crate) fn build(config: &mut HttpConfig) -> Result<Client, OutboxError> {
    #[cfg(feature = "tls-rustls-ring-native-roots")]
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let resolver = Checked {
        inner: config.resolver.take().unwrap_or_else(|| Arc::new(System)),
        allowed: Arc::clone(&config.networks),
    };
    let client = std::mem::take(&mut config.client)
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(retry::never())
        .no_proxy()
        .dns_resolver(resolver)
        .connect_timeout(config.call_timeout / 2)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(config.requests_per_endpoint)
        .http1_only();
    let built = client.build();
    built.map_err(|error| invalid("options of the client cannot be used").with_source(error))
}
