//! The URLs of a store and a heap, as the command reads them: none panics, and none shows its
//! password, neither in a refusal nor in what is printed.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../outbox-cli/src/failure.rs"]
mod failure;
#[path = "../../outbox-cli/src/ndjson.rs"]
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
use wiring::{Place, STORE, destination, scripts, with_schema};

const PASSWORD: &str = "hunter2-s3cret";

/// Whatever stands around a password, or any text.
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
    /// The fuzzer finds the password by itself, and what has it elsewhere may be shown.
    fn has_it_elsewhere(&self) -> bool {
        let (one, two) = match self {
            Self::Text(text) => (*text, ""),
            Self::Login(_, one, two) | Self::Parameter(_, one, two) => (*one, *two),
        };
        one.contains(PASSWORD) || two.contains(PASSWORD)
    }
}

fuzz_target!(|input: Input<'_>| {
    if input.has_it_elsewhere() {
        return;
    }
    let url = match &input {
        Input::Text(text) => (*text).to_owned(),
        Input::Login(scheme, user, rest) => {
            format!("{}://{user}:{PASSWORD}@{rest}", scheme.text())
        }
        // Behind another '?' it would be a part of some other parameter.
        Input::Parameter(_, place, _) if place.contains('?') => return,
        Input::Parameter(scheme, place, rest) => {
            let (name, scheme) = (scheme.password(), scheme.text());
            format!("{scheme}://{place}?{name}={PASSWORD}&{rest}")
        }
    };
    let secret = |shown: &str| assert!(!shown.contains(PASSWORD), "{url:?} is shown as {shown:?}");
    for heap in [&*url, "sqlite:heap.db"] {
        let store = if heap == url { "sqlite:shop.db" } else { &url };
        let (store, heap) = (store.to_owned(), heap.to_owned());
        if let Err(failure) = scripts(&Urls { store, heap }) {
            secret(&failure.to_string());
        }
    }
    if let Ok(Place::Postgres(database)) = STORE.place(&url) {
        secret(database.shown());
        assert!(
            STORE.place(database.shown()).is_ok(),
            "{url:?} is shown as no URL"
        );
        assert!(
            STORE.place(&with_schema(&url, "another")).is_ok(),
            "{url:?}"
        );
    }
    let _ = destination(&url).map(drop);
});
