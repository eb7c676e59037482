//! An exporter whose failures are a bounded number of lines in the log.

use super::client::Cause;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// At most one warning in this time, also if the collector fails every now and then.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Exporter<E> {
    inner: E,
    cause: Cause,
    outage: Mutex<Outage>,
}

#[derive(Debug, Default)]
struct Outage {
    warned: Option<Instant>,
    /// Spans that were not exported since the warning. `None` if the collector works.
    lost: Option<usize>,
}

impl<E> Exporter<E> {
    pub(super) fn new(inner: E, cause: Cause) -> Self {
        Self {
            inner,
            cause,
            outage: Mutex::default(),
        }
    }
}

impl<E: SpanExporter> SpanExporter for Exporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.inner.export(batch).await;
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        match &result {
            Ok(()) => outage.ended(),
            Err(error) => {
                let cause = self.cause.take().map(|cause| cause.to_string());
                outage.failed(spans, &cause.unwrap_or_else(|| error.to_string()));
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.inner.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl Outage {
    fn failed(&mut self, spans: usize, error: &str) {
        let is_quiet = self
            .warned
            .is_some_and(|at| at.elapsed() < BETWEEN_WARNINGS);
        if !is_quiet {
            self.warned = Some(Instant::now());
            self.lost.get_or_insert_default();
            tracing::warn!(
                error,
                "the collector takes no traces: spans are lost, events are delivered"
            );
        }
        if let Some(lost) = &mut self.lost {
            *lost += spans;
        }
    }

    fn ended(&mut self) {
        if let Some(lost) = self.lost.take() {
            tracing::info!(lost, "the collector takes traces again");
        }
    }
}
