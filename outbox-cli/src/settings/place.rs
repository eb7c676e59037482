//! Where a command finds the stores and the heaps.
#![allow(
    clippy::doc_markdown,
    reason = "these comments are the help texts of the command"
)]

use super::file::{ConfigFile, StoreTable};
use super::secret;
use super::service::NAME;
use crate::failure::Failure;
use clap::Args;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(crate) struct StoreOptions {
    /// Where events wait, such as sqlite:shop.db or postgres://me@db.example/shop?schema=outbox;
    /// with ?pgbouncer=true if PgBouncer is in between, with ?listen=false without LISTEN. Or the name of a
    /// store of the configuration file.
    #[arg(long, env = STORE, hide_env_values = true)]
    store: Option<String>,
    /// A TOML file for what neither a flag nor the environment sets.
    #[arg(long, env = "OUTBOX_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct UrlOptions {
    #[command(flatten)]
    store: StoreOptions,
    /// Where failures are counted, if that is not the store: a URL as that of the store, or one of
    /// Redis, such as redis://cache.example/?namespace=outbox.
    #[arg(long, env = HEAP, hide_env_values = true)]
    heap: Option<String>,
}

const STORE: &str = "DATABASE_URL";
const HEAP: &str = "OUTBOX_HEAP";

/// Where the store and the heap are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Urls {
    pub(crate) store: String,
    pub(crate) heap: String,
}

/// A store that a command works on.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) urls: Urls,
    /// None: the one URL of a flag, a variable or the file.
    pub(crate) table: Option<StoreTable>,
}

impl Place {
    /// The name for people and labels.
    pub(crate) fn label(&self) -> &str {
        self.name().unwrap_or(NAME)
    }

    /// The name in the configuration file.
    pub(crate) fn name(&self) -> Option<&str> {
        self.table.as_ref().map(|table| &*table.name)
    }
}

impl StoreOptions {
    pub(crate) fn file(&self) -> Result<ConfigFile, Failure> {
        ConfigFile::load(self.config.as_deref())
    }

    /// The URL of the only store, or of the one that is named.
    pub(crate) fn url(&self) -> Result<String, Failure> {
        Ok(only(self.places(&self.file()?, None)?)?.urls.store)
    }

    /// The stores that the command works on: all of the file, unless one is named.
    fn places(&self, file: &ConfigFile, heap: Option<String>) -> Result<Vec<Place>, Failure> {
        let given = secret::given(self.store.as_ref(), STORE)?;
        if file.stores.is_empty() {
            let url = given.or_else(|| file.store.clone()).ok_or_else(|| {
                let message = "no store: pass --store sqlite:PATH or --store postgres://USER@HOST/DATABASE, \
                               or set DATABASE_URL, or store in the configuration file";
                Failure::Input(message.to_owned())
            })?;
            let heap = heap.or_else(|| file.heap.clone());
            let urls = Urls {
                heap: heap.unwrap_or_else(|| url.clone()),
                store: url,
            };
            return Ok(vec![Place { urls, table: None }]);
        }
        let tables = match given {
            None => file.stores.clone(),
            Some(name) => vec![named(file, &name)?],
        };
        if heap.is_some() && tables.len() > 1 {
            return Err(many(file, "--heap or OUTBOX_HEAP is set"));
        }
        let place = |table: StoreTable| Place {
            urls: Urls {
                store: table.url.clone(),
                heap: heap
                    .clone()
                    .or_else(|| table.heap.clone())
                    .unwrap_or_else(|| table.url.clone()),
            },
            table: Some(table),
        };
        Ok(tables.into_iter().map(place).collect())
    }
}

impl UrlOptions {
    pub(super) fn has_file(&self) -> bool {
        self.store.config.is_some()
    }

    pub(crate) fn file(&self) -> Result<ConfigFile, Failure> {
        self.store.file()
    }

    /// Those of the only store, or of the one that is named.
    pub(crate) fn urls(&self) -> Result<Urls, Failure> {
        Ok(only(self.places()?)?.urls)
    }

    /// The stores that the command works on: all of the file, unless one is named.
    pub(crate) fn places(&self) -> Result<Vec<Place>, Failure> {
        self.places_of(&self.file()?)
    }

    pub(super) fn places_of(&self, file: &ConfigFile) -> Result<Vec<Place>, Failure> {
        let heap = secret::given(self.heap.as_ref(), HEAP)?;
        self.store.places(file, heap)
    }
}

impl Urls {
    /// A store that has its own heap.
    pub(crate) fn of_store(url: &str) -> Self {
        Self {
            store: url.to_owned(),
            heap: url.to_owned(),
        }
    }
}

/// The one place of a command that works on one store.
fn only(mut places: Vec<Place>) -> Result<Place, Failure> {
    if let [_] = &*places {
        return Ok(places.remove(0));
    }
    let names: Vec<&str> = places.iter().filter_map(Place::name).collect();
    Err(Failure::Input(format!(
        "the configuration file has several stores: name one with --store: {}",
        names.join(", ")
    )))
}

pub(super) fn named(file: &ConfigFile, name: &str) -> Result<StoreTable, Failure> {
    // It may hold a password, so the message does not show it.
    if name.contains(':') {
        return Err(many(file, "--store or DATABASE_URL is a URL"));
    }
    let table = file.stores.iter().find(|table| table.name == name);
    table
        .cloned()
        .ok_or_else(|| many(file, &format!("--store is {name:?}")))
}

/// Refuses what is for one store.
pub(super) fn many(file: &ConfigFile, what: &str) -> Failure {
    let names: Vec<&str> = file.stores.iter().map(|table| &*table.name).collect();
    Failure::Input(format!(
        "{what}, but {} has the stores {}: name one of them with --store, or change the file",
        file.path().display(),
        names.join(", ")
    ))
}
