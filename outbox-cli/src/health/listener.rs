//! The HTTP server of a relay.

use super::board::Board;
use super::pages::Pages;
use crate::failure::Failure;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

/// A client that is slower to send its request is gone.
const REQUEST: Duration = Duration::from_secs(2);

/// A client that is slower to read the answer is gone.
const ANSWER: Duration = Duration::from_secs(10);

/// So many clients at a time; the next ones wait for one to end.
const CLIENTS: usize = 100;

/// The most bytes of a request's head, and its most headers.
const HEAD: usize = 16 * 1024;
const HEADERS: usize = 64;

/// The exporter keeps each measurement until it is asked for its metrics, or until then.
const UPKEEP: Duration = Duration::from_secs(1);

/// In seconds: a call of a transport answers within the publish timeout of usually 10 s.
const CALLS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0];

/// The delays of a healthy relay, and of one after an outage.
const DELAYS: &[f64] = &[
    0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 7200.0,
];

/// A bound address, and what is shown there.
pub(crate) struct Listener {
    listener: TcpListener,
    pages: Pages,
}

impl Listener {
    /// Binds the address, and counts all metrics of the process from now on.
    pub(crate) async fn bind(address: SocketAddr, board: Board) -> Result<Self, Failure> {
        let refused =
            |error| Failure::Failed(format!("cannot listen on {address} (--listen): {error}"));
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "metrics and health");
        }
        let metrics = record().map_err(|error| Failure::Failed(error.to_string()))?;
        let pages = Pages { board, metrics };
        Ok(Self { listener, pages })
    }

    /// Answers until it is dropped.
    pub(crate) async fn serve(self) {
        let slots = Arc::new(Semaphore::new(CLIENTS));
        let mut upkeep = interval(UPKEEP);
        let mut clients = JoinSet::new();
        loop {
            let accept = async {
                // The semaphore is never closed.
                let slot = Arc::clone(&slots).acquire_owned().await.ok();
                (slot, self.listener.accept().await)
            };
            tokio::select! {
                (slot, accepted) = accept => match accepted {
                    Ok((stream, _)) => {
                        let pages = self.pages.clone();
                        clients.spawn(async move {
                            serve(stream, pages).await;
                            drop(slot);
                        });
                    }
                    // Such as too many open files.
                    Err(error) => {
                        tracing::debug!(%error, "no client accepted");
                        sleep(Duration::from_millis(100)).await;
                    }
                },
                _ = upkeep.tick() => self.pages.metrics.run_upkeep(),
                Some(_) = clients.join_next() => {}
            }
        }
    }
}

/// Answers one request. Neither the request nor an error of the client is logged.
async fn serve(stream: TcpStream, pages: Pages) {
    let answer = service_fn(move |request| {
        let answer = pages.answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    let _ = timeout(ANSWER, connection).await;
}

/// Installs the recorder of the process.
fn record() -> Result<PrometheusHandle, Box<dyn std::error::Error>> {
    let buckets = |name: &str| Matcher::Full(name.to_owned());
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(buckets("outbox_publish_seconds"), CALLS)?
        .set_buckets_for_metric(buckets("outbox_delay_seconds"), DELAYS)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    Ok(handle)
}
