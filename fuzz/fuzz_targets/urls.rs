//! The URLs of a store, a heap and a broker, as the command reads them: none panics, and none shows
//! its password, neither in a refusal nor in what is printed.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../outbox-cli/src/failure.rs"]
mod failure;
#[path = "../../outbox-cli/src/ndjson/mod.rs"]
mod ndjson;
#[path = "../../outbox-cli/src/settings/mod.rs"]
mod settings;
#[path = "../../outbox-cli/src/time.rs"]
mod time;
#[path = "../../outbox-cli/src/wiring/mod.rs"]
mod wiring;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use settings::Urls;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::runtime::Runtime;
use wiring::{Database, HEAP, INBOX, STORE, backend, broker, destination, outlet, with_schema};

/// What is shown of a URL must not depend on its password, but for the length.
const PASSWORDS: [&str; 2] = ["hunter2-s3cret", "correct-horses"];

/// A password between a prefix and a suffix, or any text.
#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Text(&'a str),
    Login(Scheme, &'a str, &'a str),
    Parameter(Scheme, &'a str, &'a str),
}

#[derive(Arbitrary, Debug)]
enum Scheme {
    Postgres,
    Redis,
    Rediss,
    Unix,
    Sentinel,
    Cluster,
    Nats,
    Amqp,
}

impl Scheme {
    fn text(&self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Rediss => "rediss",
            Self::Unix => "redis+unix",
            Self::Sentinel => "redis+sentinel",
            Self::Cluster => "redis+cluster",
            Self::Nats => "nats",
            Self::Amqp => "amqp",
        }
    }

    fn password(&self) -> &'static str {
        match self {
            Self::Postgres => "password",
            _ => "pass",
        }
    }
}

impl Input<'_> {
    fn url(&self, password: &str) -> String {
        match self {
            Self::Text(text) => (*text).to_owned(),
            Self::Login(scheme, user, rest) => {
                format!("{}://{user}:{password}@{rest}", scheme.text())
            }
            Self::Parameter(scheme, place, rest) => {
                let (name, scheme) = (scheme.password(), scheme.text());
                format!("{scheme}://{place}?{name}={password}&{rest}")
            }
        }
    }
}

/// All that the command shows of a URL.
fn shown(url: &str) -> Vec<String> {
    let mut shown = Vec::new();
    for role in [STORE, HEAP, INBOX] {
        match backend(role, url) {
            Ok(backend) => drop(backend.script()),
            Err(failure) => shown.push(failure.to_string()),
        }
    }
    if Database::is_url(url)
        && let Ok(database) = Database::parse(STORE, url)
    {
        shown.push(database.shown().to_owned());
        assert!(
            backend(STORE, database.shown()).is_ok(),
            "{url:?} is shown as no URL"
        );
        assert!(
            backend(STORE, &with_schema(url, "another")).is_ok(),
            "{url:?}"
        );
    }
    let _ = destination(url).map(drop);
    match broker(url) {
        Ok(_) => shown.push(of_a_broker(url)),
        Err(failure) => shown.push(failure.to_string()),
    }
    shown
}

/// What is shown of a broker's URL. Making a transport connects to nothing, but some drivers want a runtime.
fn of_a_broker(url: &str) -> String {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
    let _entered = RUNTIME.enter();
    match outlet(url, Duration::from_secs(10), None) {
        Ok(outlet) => outlet.shown().to_owned(),
        Err(failure) => failure.to_string(),
    }
}

fuzz_target!(|input: Input<'_>| {
    if let Input::Parameter(_, place, _) = &input
        && place.contains('?')
    {
        // Behind another '?' it would be a part of some other parameter.
        return;
    }
    let [one, two] = PASSWORDS.map(|password| input.url(password));
    assert_eq!(shown(&one), shown(&two), "{one:?}");
});
