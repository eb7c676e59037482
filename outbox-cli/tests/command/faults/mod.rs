//! Ten faults of a relay that runs, and what each of the views of an operator says of them.

mod broker;
mod endpoint;
mod fault;
mod files;
mod store;

use crate::doctor::examined;
use crate::health::Shown;
use crate::support::{command, done, json, outbox, until};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Stands for the destination in the name of a series.
const DESTINATION: &str = "DESTINATION";

const PUBLISHED: &str = "outbox_published_total{store=\"default\",destination=\"DESTINATION\"}";

/// An event may be due for a second, and errors are tried again soon.
const QUICK: &[&str] = &[
    "--health-max-age",
    "1s",
    "--store-retry-max",
    "100ms",
    "--retry-max",
    "1s",
];

/// A relay that runs, and what the operator's commands need.
struct Case {
    shown: Shown,
    folder: PathBuf,
    /// The store, as the relay and the doctor name it.
    store: String,
    /// The store, as a person asks for its status.
    asked: String,
    /// The flags of the relay that the doctor gets too.
    relay: Vec<String>,
    /// The label of its metrics.
    destination: String,
    /// What the doctor said before the fault.
    usual: BTreeSet<String>,
}

impl Case {
    /// `destination`: the label of its metrics.
    fn start(folder: &Path, store: &str, to: &str, destination: &str) -> Self {
        Self::with(folder, store, &["--to", to], destination)
    }

    /// With these flags.
    fn with(folder: &Path, store: &str, flags: &[&str], destination: &str) -> Self {
        Self::run(folder, store, flags, destination, |command| command)
    }

    /// `run` changes how the relay is started.
    fn run(
        folder: &Path,
        store: &str,
        flags: &[&str],
        destination: &str,
        run: impl FnOnce(Command) -> Command,
    ) -> Self {
        let more = [&["--store", store], flags, QUICK].concat();
        let start = |arguments: &[&str]| run(command(folder, &[arguments, &more].concat()));
        Self::of(Shown::start(start), folder, store, flags, destination)
    }

    /// In a process that has another store too.
    fn beside_another(folder: &Path, store: &str) -> Self {
        let table = |name: &str, url: &str| {
            format!("[[store]]\nname = \"{name}\"\nurl = \"{url}\"\nto = \"file:{name}\"\n")
        };
        let text = table("default", store) + &table("other", "sqlite:other.db");
        fs::write(folder.join("outbox.toml"), text).unwrap();
        done(folder, &["migrate", "--store", "sqlite:other.db"]);
        let more = [&["--config", "outbox.toml"], QUICK].concat();
        let start = |arguments: &[&str]| command(folder, &[arguments, &more].concat());
        Self::of(
            Shown::start(start),
            folder,
            store,
            &["--to", "file:default"],
            "*",
        )
    }

    fn of(shown: Shown, folder: &Path, store: &str, flags: &[&str], destination: &str) -> Self {
        let mut case = Self {
            shown,
            folder: folder.to_owned(),
            store: store.to_owned(),
            asked: store.to_owned(),
            relay: flags.iter().map(|&flag| flag.to_owned()).collect(),
            destination: destination.to_owned(),
            usual: BTreeSet::new(),
        };
        case.shown.until_well();
        case.usual = case.examined().1;
        case
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn metric(&self, series: &str) -> Option<f64> {
        let series = series.replace(DESTINATION, &self.destination);
        self.shown.metric(&series)
    }

    /// The first line of the status and what it lists as failing, or its error.
    fn status(&self) -> (String, BTreeSet<String>) {
        let arguments = ["status", "--json", "--store", &self.asked];
        let output = outbox(&self.folder, &arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        if text.is_empty() {
            return (String::from_utf8(output.stderr).unwrap(), BTreeSet::new());
        }
        let status = json(&text);
        let failing = status["failing"].as_array().unwrap().iter();
        let kinds = failing.map(|one| one["kind"].as_str().unwrap().to_owned());
        (
            status["summary"].as_str().unwrap().to_owned(),
            kinds.collect(),
        )
    }

    /// The exit code of the doctor, severity and check of each finding that was not there before the fault,
    /// and all that it found.
    fn examined(&self) -> (Option<i32>, BTreeSet<String>, String) {
        let flags = self.relay.iter().map(String::as_str);
        let store = ["--store", &*self.store, "--health-max-age", "1s"];
        let arguments: Vec<&str> = store.into_iter().chain(flags).collect();
        let (code, found) = examined(&self.folder, &arguments);
        let words = found.iter().map(|one| format!("{} {}", one[0], one[2]));
        let new = words.filter(|one| !self.usual.contains(one));
        (code, new.collect(), format!("{found:?}"))
    }

    /// Waits until the relay has published so many events.
    fn until_published(&self, count: u32) {
        until(PUBLISHED, || {
            self.metric(PUBLISHED) == Some(f64::from(count))
        });
    }
}
