//! The variables of OpenTelemetry that its SDK does not read, or does not check.

use std::env;
use std::time::Duration;
use url::Url;

const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
const TIMEOUTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
];
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request to the collector may take. `None` without an endpoint, and if exporting is switched off.
///
/// # Errors
///
/// The variable that has a value which cannot be used. It does not show an endpoint, which may have a password.
pub(super) fn timeout_if_on() -> Result<Option<Duration>, String> {
    let disabled = value("OTEL_SDK_DISABLED");
    let is_off = disabled.is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let exporter = value("OTEL_TRACES_EXPORTER");
    let Some((name, endpoint)) = first(ENDPOINTS) else {
        return Ok(None);
    };
    if is_off || exporter.is_some_and(|name| name == "none") {
        return Ok(None);
    }
    let url = Url::parse(&endpoint).ok();
    if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
        let allowed = "a URL such as http://collector.example:4318";
        return Err(format!("{name} must be {allowed}"));
    }
    if let Some((name, protocol)) = first(PROTOCOLS)
        && protocol != "http/protobuf"
    {
        return Err(format!(
            "{name} is {protocol:?}, but must be http/protobuf (often port 4318)"
        ));
    }
    if let Some(sampler) = value("OTEL_TRACES_SAMPLER")
        && !SAMPLERS.contains(&sampler.as_str())
    {
        let allowed = SAMPLERS.join(", ");
        return Err(format!(
            "OTEL_TRACES_SAMPLER is {sampler:?}, but must be one of {allowed}"
        ));
    }
    let Some((name, text)) = first(TIMEOUTS) else {
        return Ok(Some(DEFAULT_TIMEOUT));
    };
    match text.parse() {
        Ok(ms @ 1..=600_000) => Ok(Some(Duration::from_millis(ms))),
        _ => Err(format!(
            "{name} is {text:?}, but must be 1 to 600000 milliseconds"
        )),
    }
}

/// The first variable of these that has a value.
fn first(names: [&'static str; 2]) -> Option<(&'static str, String)> {
    let mut set = names
        .into_iter()
        .filter_map(|name| Some((name, value(name)?)));
    set.next()
}

/// An empty variable is one that is not set.
fn value(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
