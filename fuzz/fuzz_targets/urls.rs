//! The URLs of a store and a heap, as the command reads them: none panics, and none shows its
//! password, neither in a refusal nor in what is printed.
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
use wiring::{Database, HEAP, INBOX, STORE, backend, destination, with_schema};

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
    shown
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
