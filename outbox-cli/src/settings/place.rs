//! Where a command finds the store and the heap.
#![allow(
    clippy::doc_markdown,
    reason = "these comments are the help texts of the command"
)]

use super::file::ConfigFile;
use crate::failure::Failure;
use clap::Args;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(crate) struct StoreOptions {
    /// Where events wait, such as sqlite:shop.db or postgres://me@db.example/shop?schema=outbox;
    /// with ?pgbouncer=true if PgBouncer is in between, with ?listen=false without LISTEN.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
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
    #[arg(long, env = "OUTBOX_HEAP", hide_env_values = true)]
    heap: Option<String>,
}

/// Where the store and the heap are.
#[derive(Debug)]
pub(crate) struct Urls {
    pub(crate) store: String,
    pub(crate) heap: String,
}

impl StoreOptions {
    pub(crate) fn file(&self) -> Result<ConfigFile, Failure> {
        ConfigFile::load(self.config.as_deref())
    }

    pub(crate) fn url(&self) -> Result<String, Failure> {
        self.url_with(&self.file()?)
    }

    fn url_with(&self, file: &ConfigFile) -> Result<String, Failure> {
        let url = self.store.as_ref().or(file.store.as_ref());
        url.cloned().ok_or_else(|| {
            let message = "no store: pass --store sqlite:PATH or --store postgres://USER@HOST/DATABASE, \
                           or set DATABASE_URL, or store in the configuration file";
            Failure::Input(message.to_owned())
        })
    }
}

impl UrlOptions {
    pub(crate) fn file(&self) -> Result<ConfigFile, Failure> {
        self.store.file()
    }

    pub(crate) fn urls(&self) -> Result<Urls, Failure> {
        self.urls_with(&self.file()?)
    }

    pub(crate) fn urls_with(&self, file: &ConfigFile) -> Result<Urls, Failure> {
        let store = self.store.url_with(file)?;
        let heap = self.heap.as_ref().or(file.heap.as_ref());
        let heap = heap.unwrap_or(&store).clone();
        Ok(Urls { store, heap })
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
