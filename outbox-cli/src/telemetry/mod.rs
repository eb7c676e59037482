//! Logs on stderr, and traces for a collector of OpenTelemetry.

mod client;
mod exporter;
mod stores;
mod variables;

pub(crate) use stores::of_store;

use crate::cli::{Cli, Command};
use crate::log::{self, JsonForm};
use crate::settings::LogFormat;
use client::Client;
use exporter::Exporter;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::io::IsTerminal;
use std::time::Duration;
use stores::Stores;
use tokio::runtime::Handle;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// How long the end of the command waits for a collector that takes the last spans.
const FLUSH: Duration = Duration::from_secs(3);

/// The traces of a relay, if they are exported.
pub(crate) struct Traces(Option<SdkTracerProvider>);

/// Starts the log and, for a relay, the export of its traces. Both never fail the command.
pub(crate) fn start(cli: &Cli, format: LogFormat, runtime: &Handle) -> Traces {
    let exported = match &cli.command {
        Command::Relay(_) => provider(runtime),
        _ => Ok(None),
    };
    let quiet = matches!(cli.command, Command::Demo(_));
    let log = logs(format, quiet);
    let (provider, problem) = match exported {
        Ok(provider) => (provider, None),
        Err(problem) => (None, Some(problem)),
    };
    if let Some(provider) = &provider {
        // Not the spans of the client that sends them, which would never end, nor those of the command, which
        // are as long as it runs.
        let own = Targets::new().with_target("outbox_", Level::INFO);
        let layer = tracing_opentelemetry::layer()
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_tracer(provider.tracer("outbox"));
        let registry = tracing_subscriber::registry().with(log);
        registry.with(layer.with_filter(own)).init();
    } else {
        tracing_subscriber::registry().with(log).init();
    }
    if let Some(problem) = problem {
        tracing::warn!("traces are not exported: {problem}");
    }
    Traces(provider)
}

fn logs<S>(format: LogFormat, quiet: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // Lapin also logs what the transport returns as an error.
    let default = if quiet { "off" } else { "warn,lapin=off" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let events = filter_fn(is_logged).with_max_level_hint(LevelFilter::TRACE);
    let layer = tracing_subscriber::fmt::layer().with_writer(|| log::Log);
    match format {
        LogFormat::Text => layer
            .with_ansi(std::io::stderr().is_terminal())
            .with_filter(filter.and(events))
            .boxed(),
        LogFormat::Json => layer
            .event_format(JsonForm)
            .fmt_fields(JsonForm)
            .with_filter(filter.and(events))
            .boxed(),
    }
}

/// Events, and the spans of the command, which name the store of a line. Other spans cost time, and would be in
/// each line.
fn is_logged(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() || metadata.target().starts_with("outbox::")
}

/// Exports by the variables of OpenTelemetry. `None` without an endpoint.
fn provider(runtime: &Handle) -> Result<Option<SdkTracerProvider>, String> {
    let Some(timeout) = variables::timeout_if_on()? else {
        return Ok(None);
    };
    let client = Client::new(timeout, runtime).map_err(|error| error.to_string())?;
    let cause = client.cause();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .build()
        .map_err(|error| error.to_string())?;
    Ok(Some(
        SdkTracerProvider::builder()
            .with_resource(resource())
            .with_span_processor(Stores)
            .with_batch_exporter(Exporter::new(exporter, cause))
            .build(),
    ))
}

/// `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, with a name for those who set none.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let builder = || Resource::builder().with_attribute(version.clone());
    let resource = builder().build();
    let name = resource.get(&"service.name".into());
    if name.is_some_and(|name| name.as_str().starts_with("unknown_service")) {
        return builder().with_service_name("outbox-relay").build();
    }
    resource
}

impl Traces {
    /// Waits until the last spans are exported, but not for long.
    pub(crate) fn flush(self) {
        if let Some(provider) = self.0 {
            // What the collector has not taken by then is lost, as any other span that it does not take.
            let _ = provider.shutdown_with_timeout(FLUSH);
        }
    }
}
