//! Names to addresses, each of which is checked before a connection is made to it.
//!
//! The client asks for each new connection, and connects to nothing but what it gets. So a name cannot be
//! bound to another address between the check and the connection.

use crate::network;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

/// Asks the system.
pub(crate) struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(addresses.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

/// Refuses a name of which one address is not allowed.
pub(crate) struct Checked {
    pub(crate) inner: Arc<dyn Resolve>,
    pub(crate) allowed: Arc<[IpNet]>,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let resolving = self.inner.resolve(name);
        let allowed = Arc::clone(&self.allowed);
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = resolving.await?.collect();
            if addresses.is_empty() {
                return Err(Box::<dyn Error + Send + Sync>::from("name has no address"));
            }
            for address in &addresses {
                network::check(address.ip(), &allowed)?;
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
