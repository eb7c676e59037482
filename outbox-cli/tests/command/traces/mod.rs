//! Traces from an application through the outbox to a collector.

mod collector;

use crate::support::{
    Running, SHOP, appended, appended_to, arrived, command, done, events, lines, open, outbox,
    status, until,
};
use collector::{Mood, Server, hex, text};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_sdk::trace::SdkTracerProvider;
use outbox_core::Event;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

const PASSWORD: &str = "pa55word";

/// Appends an event within a span of an application. Returns the ids of the trace and of the span.
fn append_in_a_span(folder: &Path, event: Event) -> (String, String) {
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("shop"));
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!("POST /orders");
        let _entered = span.enter();
        appended(folder, &[event]);
        let context = span.context();
        let context = context.span().span_context().clone();
        (
            context.trace_id().to_string(),
            context.span_id().to_string(),
        )
    })
}

/// A relay that exports its spans soon.
fn relay(folder: &Path, to: &str, collector: &str, more: &[&str]) -> Command {
    let arguments = ["relay", "--store", SHOP, "--to", to];
    let quick = ["--retry-initial", "1ms", "--heap-interval", "20ms"];
    let mut command = command(folder, &[&arguments[..], &quick, more].concat());
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    command
}

fn attempts(spans: &[Span]) -> Vec<&Span> {
    let is_attempt = |span: &&Span| !text(&span.attributes, "outbox.attempt").is_empty();
    let mut attempts: Vec<&Span> = spans.iter().filter(is_attempt).collect();
    attempts.sort_by_key(|span| span.start_time_unix_nano);
    attempts
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn attempts_before_and_after_a_replay_are_in_the_trace_of_the_application() {
    let (folder, server) = (
        TempDir::new().unwrap(),
        Server::new(Mood::Takes, vec![422; 10_000]),
    );
    let folder = folder.path();
    let (trace, span) = append_in_a_span(folder, Event::new("order.placed", "{}"));
    let start = |more: &[&str]| {
        let limit = ["--failure-threshold", "2"];
        let all = [&limit[..], more].concat();
        relay(folder, &server.endpoint(), &server.collector(), &all)
    };
    let mut running = Running::start(start(&[]));
    until("a dead letter", || status(folder, "dead_letters") == 1);
    running.stop();
    server.answers([422]);
    done(folder, &["dlq", "replay", "--all", "--store", SHOP]);
    let mut drain = start(&["--drain"]);
    // The client of the exporter has spans at this level.
    drain.env("RUST_LOG", "trace").stderr(Stdio::null());
    assert!(drain.status().unwrap().success());

    let spans = server.spans();
    let outcomes: Vec<[String; 3]> = attempts(&spans)
        .iter()
        .map(|attempt| {
            assert_eq!(hex(&attempt.trace_id), trace);
            assert_eq!(hex(&attempt.parent_span_id), span);
            ["outbox.attempt", "outbox.outcome", "error.type"]
                .map(|key| text(&attempt.attributes, key))
        })
        .collect();
    let rejected =
        |attempt: usize| [&attempt.to_string(), "rejected", "rejected"].map(str::to_owned);
    let published = ["2", "published", ""].map(str::to_owned);
    // More than two if the event is sent again before it is quarantined.
    let before = outcomes.len() - 2;
    assert!(before >= 2, "{outcomes:?}");
    let mut expected: Vec<_> = (1..=before).map(rejected).collect();
    expected.extend([rejected(1), published]);
    assert_eq!(outcomes, expected);
    let links = spans.iter().flat_map(|call| &call.links);
    let links: Vec<_> = links
        .map(|link| (hex(&link.trace_id), hex(&link.span_id)))
        .collect();
    assert_eq!(links, vec![(trace.clone(), span.clone()); outcomes.len()]);
    let sent = vec![format!("00-{trace}-{span}-01"); outcomes.len()];
    assert_eq!(server.traceparents(), sent);
    assert_eq!(server.resource("service.name"), "outbox-relay");
    // No span of the client that sends the spans, nor of any other library.
    let to = format!("publish http://127.0.0.1:{}/hook", server.port);
    for span in &spans {
        assert!(
            ["pass", "settle", "tick", &to].contains(&&*span.name),
            "{span:#?}"
        );
    }
}

#[test]
fn the_spans_of_several_stores_have_the_names_of_their_stores() {
    let (folder, server) = (TempDir::new().unwrap(), Server::new(Mood::Takes, []));
    let folder = folder.path();
    let traces = [("one", "1".repeat(32)), ("two", "2".repeat(32))];
    let mut tables = format!("[relay]\nto = {:?}\n", server.endpoint());
    for (name, trace) in &traces {
        let parent = format!("00-{trace}-00f067aa0ba902b7-01");
        let event = Event::new("order.placed", "{}").header("traceparent", parent);
        appended_to(folder, name, &[event]);
        let table = format!("[[store]]\nname = \"{name}\"\nurl = \"sqlite:{name}.db\"\n");
        tables.push_str(&table);
    }
    fs::write(folder.join("outbox.toml"), tables).unwrap();
    let relay = |more: &[&str]| {
        let drain = ["relay", "--drain", "--config", "outbox.toml"];
        let mut relay = command(folder, &[&drain[..], more].concat());
        relay.env("OTEL_EXPORTER_OTLP_ENDPOINT", server.collector());
        relay.stderr(Stdio::null());
        assert!(relay.status().unwrap().success());
    };
    relay(&[]);
    let spans = server.spans();
    for (name, trace) in &traces {
        let of_store = spans.iter();
        let of_store = of_store.filter(|span| text(&span.attributes, "outbox.store") == *name);
        let of_store: Vec<&Span> = of_store.collect();
        let kinds = of_store.iter().map(|span| span.name.split(' ').next());
        let kinds: BTreeSet<&str> = kinds.flatten().collect();
        assert_eq!(
            kinds,
            BTreeSet::from(["pass", "publish", "settle"]),
            "{name}"
        );
        let of_trace = spans.iter().filter(|span| hex(&span.trace_id) == *trace);
        let of_trace: Vec<&Span> = of_trace.collect();
        assert_eq!(of_trace.len(), 1, "{name}");
        assert_eq!(text(&of_trace[0].attributes, "outbox.store"), *name);
    }
    let named = |span: &&Span| !text(&span.attributes, "outbox.store").is_empty();
    assert_eq!(spans.iter().filter(named).count(), spans.len());
    // One store is not named, as in the log.
    appended_to(folder, "one", &events("order.placed", 1));
    relay(&["--store", "one"]);
    let spans = server.spans().split_off(spans.len());
    assert!(!spans.is_empty() && !spans.iter().any(|span| named(&span)));
}

#[test]
fn a_collector_that_takes_nothing_stops_no_event_and_costs_one_line() {
    for mood in [None, Some(Mood::Refuses), Some(Mood::Hangs)] {
        let (folder, server) = (
            TempDir::new().unwrap(),
            mood.map(|mood| Server::new(mood, [])),
        );
        let folder = folder.path();
        let collector = server.as_ref().map_or_else(
            || format!("http://127.0.0.1:{}", crate::brokers::port_of_no_server()),
            Server::collector,
        );
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let traced = |event: Event| event.header("traceparent", parent);
        let traced: Vec<Event> = events("order.placed", 5000)
            .into_iter()
            .map(traced)
            .collect();
        appended(folder, &traced);
        let output = relay(
            folder,
            "file:out",
            &collector,
            &["--drain", "--batch-size", "50"],
        )
        .output()
        .unwrap();
        let errors = stderr(&output);
        assert!(output.status.success(), "{mood:?}: {errors}");
        assert_eq!(arrived(&folder.join("out")).len(), 5000, "{mood:?}");
        let limit = usize::from(!matches!(mood, Some(Mood::Hangs)));
        assert_eq!(errors.lines().count(), limit, "{mood:?}: {errors}");
    }
}

#[test]
fn events_with_headers_that_are_no_trace_are_published_as_they_are() {
    let (folder, server) = (TempDir::new().unwrap(), Server::new(Mood::Takes, []));
    let folder = folder.path();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let long = "00-".repeat(100_000);
    let headers = [
        "",
        " ",
        "0",
        "00",
        "00-",
        "---",
        "null",
        "{}",
        "'; DROP TABLE outbox_events; --",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        &format!("00-{trace}-0000000000000000-01"),
        &format!("ff-{trace}-00f067aa0ba902b7-01"),
        &format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
        &format!("00-{trace}-00f067aa0ba902b7"),
        &format!("00-{trace}-00f067aa0ba902b7-1"),
        &format!("00-{trace}-00f067aa0ba902b7-01-more"),
        &format!("00-{trace}-00f067aa0ba902b7-01\r\nforged: 1"),
        &format!("00-é{}-00f067aa0ba902b7-01", &trace[2..]),
        "\u{1b}[2J",
        &long,
    ];
    let events = headers.map(|value| {
        let event = Event::new("order.placed", "{}").header("traceparent", value);
        event.header("tracestate", value)
    });
    appended(folder, &events);
    let output = relay(folder, "file:out", &server.collector(), &["--drain"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    let written = lines(&fs::read_to_string(folder.join("out")).unwrap());
    let written: Vec<&str> = written
        .iter()
        .map(|line| line["headers"]["traceparent"].as_str().unwrap())
        .collect();
    assert_eq!(written, headers);
    let spans = server.spans();
    assert!(spans.iter().any(|span| span.name.starts_with("publish")));
    assert!(spans.iter().all(|span| span.links.is_empty()));
}

#[test]
fn the_variables_of_opentelemetry_reach_the_collector() {
    let (folder, server) = (TempDir::new().unwrap(), Server::new(Mood::Takes, []));
    let folder = folder.path();
    appended(folder, &events("order.placed", 1));
    let mut drain = relay(folder, "file:out", "http://127.0.0.1:1", &["--drain"]);
    let traces = format!("{}/v1/traces", server.collector());
    drain
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", traces)
        .env(
            "OTEL_EXPORTER_OTLP_HEADERS",
            format!("api-key={PASSWORD},x=a%20b"),
        )
        .env("OTEL_SERVICE_NAME", "shop-relay")
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        );
    assert!(drain.status().unwrap().success());
    let headers = server.headers();
    assert_eq!(headers[0]["api-key"], PASSWORD);
    assert_eq!(headers[0]["x"], "a b");
    assert_eq!(headers[0]["content-type"], "application/x-protobuf");
    assert_eq!(server.resource("service.name"), "shop-relay");
    assert_eq!(server.resource("deployment.environment.name"), "test");
}

#[test]
fn nothing_is_exported_if_a_variable_says_so() {
    for (name, value) in [
        ("OTEL_SDK_DISABLED", "TRUE"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
    ] {
        let (folder, server) = (TempDir::new().unwrap(), Server::new(Mood::Takes, []));
        let folder = folder.path();
        appended(folder, &events("order.placed", 1));
        let mut drain = relay(folder, "file:out", &server.collector(), &["--drain"]);
        let output = drain.env(name, value).output().unwrap();
        assert!(output.status.success(), "{name}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{name}");
        assert_eq!(server.spans(), [], "{name}");
    }
}

#[test]
fn a_variable_that_cannot_be_used_is_one_warning_and_events_are_published() {
    for (name, value, problem) in [
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("me:{PASSWORD}@collector:4318"),
            "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL such as",
        ),
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "grpc".to_owned(),
            "OTEL_EXPORTER_OTLP_PROTOCOL is \"grpc\", but must be http/protobuf",
        ),
        (
            "OTEL_TRACES_SAMPLER",
            "sometimes".to_owned(),
            "OTEL_TRACES_SAMPLER is \"sometimes\", but must be one of always_on",
        ),
        (
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "10s".to_owned(),
            "OTEL_EXPORTER_OTLP_TIMEOUT is \"10s\", but must be 1 to 600000 milliseconds",
        ),
    ] {
        let folder = TempDir::new().unwrap();
        let folder = folder.path();
        appended(folder, &events("order.placed", 1));
        let mut drain = relay(folder, "file:out", "http://127.0.0.1:1", &["--drain"]);
        let output = drain.env(name, value).output().unwrap();
        let errors = stderr(&output);
        assert!(output.status.success(), "{name}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.contains(problem), "{errors}");
        assert!(!errors.contains(PASSWORD), "{errors}");
        assert_eq!(arrived(&folder.join("out")).len(), 1);
    }
}

#[test]
fn an_event_that_a_program_inserts_by_sql_is_in_the_trace_that_it_names() {
    let (folder, server) = (TempDir::new().unwrap(), Server::new(Mood::Takes, []));
    let folder = folder.path();
    done(folder, &["migrate", "--store", SHOP]);
    let headers = r#"{"Traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}"#;
    let insert = "INSERT INTO outbox_events (event_type, payload, headers) VALUES ('x', '{}', ?1)";
    open(folder).execute(insert, [headers]).unwrap();
    let output = outbox(folder, &["status", "--store", SHOP]);
    assert!(output.status.success());
    let mut drain = relay(folder, "file:out", &server.collector(), &["--drain"]);
    assert!(drain.status().unwrap().success());
    let spans = server.spans();
    let attempts = attempts(&spans);
    assert_eq!(attempts.len(), 1, "{spans:#?}");
    assert_eq!(hex(&attempts[0].parent_span_id), "00f067aa0ba902b7");
}
