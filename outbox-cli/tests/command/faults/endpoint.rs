//! An HTTP endpoint that gives one answer.

use axum::Router;
use axum::http::StatusCode;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// It answers each request with the status, after the delay.
pub(super) struct Endpoint {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Endpoint {
    pub(super) fn new(status: StatusCode, delay: Duration) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(async move || {
            tokio::time::sleep(delay).await;
            status
        });
        runtime.spawn(async { axum::serve(listener, app).await });
        Self {
            address,
            _runtime: runtime,
        }
    }

    pub(super) fn to(&self) -> String {
        format!("{}#allow=127.0.0.0/8", self.name())
    }

    /// The name of the destination.
    pub(super) fn name(&self) -> String {
        format!("http://{}/hooks", self.address)
    }
}
