//! The answers of the listener.

use super::board::Board;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::Value;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// What the pages show.
#[derive(Clone)]
pub(super) struct Pages {
    pub(super) board: Board,
    pub(super) metrics: PrometheusHandle,
}

impl Pages {
    /// Asks no store and no broker, so it never waits.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut refused = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, allowed);
            return refused;
        }
        match request.uri().path() {
            "/metrics" => response(StatusCode::OK, TEXT, self.metrics.render()),
            "/livez" => response(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" => json(self.board.readiness()),
            "/healthz" => json(self.board.progress()),
            _ => {
                let pages = "pages: /metrics /livez /readyz /healthz\n";
                response(StatusCode::NOT_FOUND, TEXT, pages)
            }
        }
    }
}

fn json((is_well, body): (bool, Value)) -> Response<Full<Bytes>> {
    let status = if is_well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    response(status, JSON, format!("{body}\n"))
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
