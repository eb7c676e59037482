//! The names of the stores in the spans of their relays.

use opentelemetry::trace::Span as _;
use opentelemetry::{Context, KeyValue, StringValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use std::sync::Arc;
use std::time::Duration;

const STORE: &str = "outbox.store";

tokio::task_local! {
    static NAME: Arc<str>;
}

/// Does the work of the relay of a store, whose spans have the name of the store. With `None` they have none.
pub(crate) async fn of_store<T>(name: Option<Arc<str>>, work: impl Future<Output = T>) -> T {
    match name {
        Some(name) => NAME.scope(name, work).await,
        None => work.await,
    }
}

/// Adds the name to a span. The spans of a relay have no common parent that could have it: each starts a
/// separate trace, or is in that of an event.
#[derive(Debug)]
pub(super) struct Stores;

impl SpanProcessor for Stores {
    fn on_start(&self, span: &mut Span, _: &Context) {
        // Outside of the work of a store there is none.
        let _ = NAME.try_with(|name| {
            let name = StringValue::from(Arc::clone(name));
            span.set_attribute(KeyValue::new(STORE, name));
        });
    }

    fn on_end(&self, _: SpanData) {}

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
