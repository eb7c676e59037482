//! `outbox relay --healthcheck`: asks the relay that runs here, for containers.

use crate::failure::Failure;
use clap::ValueEnum;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the relay may take. It answers from memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most bytes of an answer.
const ANSWER: usize = 1024 * 1024;

/// What a container is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Endpoint {
    /// Does the process answer?
    Livez,
    /// Is each store open, migrated and reachable?
    Readyz,
    /// Does each store make progress?
    Healthz,
}

/// Succeeds if the endpoint answers 200. Each failure is exit code 1, because Docker reserves 2.
pub(crate) async fn healthcheck(
    listen: Option<SocketAddr>,
    endpoint: Endpoint,
) -> Result<(), Failure> {
    let Some(address) = listen else {
        let message = "the relay does not listen: set --listen, OUTBOX_LISTEN or the key listen";
        return Err(Failure::Failed(message.to_owned()));
    };
    let address = reachable(address);
    let failed = |why: &dyn std::fmt::Display| Failure::Failed(format!("{address}: {why}"));
    match timeout(PATIENCE, get(address, endpoint)).await {
        Ok(Ok((StatusCode::OK, _))) => Ok(()),
        Ok(Ok((status, body))) => Err(failed(&format_args!("{status}: {}", body.trim_end()))),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(failed(&format_args!("no answer within {PATIENCE:?}"))),
    }
}

/// An address of all interfaces is asked on this machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

async fn get(
    address: SocketAddr,
    endpoint: Endpoint,
) -> Result<(StatusCode, String), Box<dyn Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let path = match endpoint {
        Endpoint::Livez => "/livez",
        Endpoint::Readyz => "/readyz",
        Endpoint::Healthz => "/healthz",
    };
    let request = Request::get(path).header(HOST, address.to_string());
    let response = sender
        .send_request(request.body(Empty::<Bytes>::new())?)
        .await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER).collect().await?;
    connection.abort();
    Ok((
        status,
        String::from_utf8_lossy(&body.to_bytes()).into_owned(),
    ))
}
