//! What a URL of the store or the heap names.

use super::postgres::Database;
use super::redis::{self, Namespace};
use crate::failure::Failure;
use std::fmt::Arguments;

pub(crate) const STORE: Role = Role {
    name: "store",
    allowed: TABLES,
};
pub(crate) const HEAP: Role = Role {
    name: "heap",
    allowed: TABLES_OR_REDIS,
};

/// What a URL of a store may be, and with an ending, that of a heap.
macro_rules! allowed {
    ($ending:literal) => {
        concat!(
            "sqlite:PATH, such as sqlite:shop.db or sqlite:///var/lib/shop.db, \
             or postgres://USER@HOST/DATABASE, with ?schema=NAME unless it is outbox",
            $ending
        )
    };
}

const TABLES: &str = allowed!("");
const TABLES_OR_REDIS: &str =
    allowed!(", or redis://USER@HOST, with ?namespace=NAME unless it is outbox");

/// Where tables are.
pub(crate) enum Place {
    /// The path of a file.
    Sqlite(String),
    Postgres(Box<Database>),
}

/// Where a heap is.
pub(crate) enum HeapPlace {
    Tables(Place),
    Redis(Box<Namespace>),
}

/// What a URL is given for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Role {
    name: &'static str,
    allowed: &'static str,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        self.name
    }

    /// Reads the URL. No message tells a part of it that may hold a password.
    pub(crate) fn place(self, url: &str) -> Result<Place, Failure> {
        let (scheme, rest) = url.split_once(':').unwrap_or(("", ""));
        match scheme {
            "sqlite" => self.path(url, rest).map(Place::Sqlite),
            "postgres" | "postgresql" => {
                Database::parse(self, url).map(|database| Place::Postgres(Box::new(database)))
            }
            other if redis::is_scheme(other) => Err(self.refused(format_args!(
                "has the scheme {other:?} of Redis, where only a heap can be"
            ))),
            other if is_scheme(other) => {
                Err(self.refused(format_args!("has the unknown scheme {other:?}")))
            }
            // "host=db.example password=…", as libpq takes it.
            _ if url.contains('=') => Err(self.refused(format_args!("is not a URL"))),
            _ => Err(self.refused(format_args!("{url:?} is not a URL"))),
        }
    }

    fn path(self, url: &str, rest: &str) -> Result<String, Failure> {
        let path = rest.strip_prefix("//").unwrap_or(rest);
        if path.is_empty() {
            return Err(self.refused(format_args!("{url:?} names no file")));
        }
        Ok(path.to_owned())
    }

    /// Refuses a password that ends the host too early: it would be shown as a part of it. So would
    /// one behind a '#', which no driver reads.
    pub(super) fn whole_login(self, url: &str) -> Result<(), Failure> {
        let behind_scheme = url.split_once("://").map_or(url, |(_, behind)| behind);
        match behind_scheme.find(['/', '?', '#']) {
            Some(end) if behind_scheme[end..].contains('@') => Err(self.refused(format_args!(
                "has an '@' behind its host: write '/' as %2F, '?' as %3F, '#' as %23 and '@' as \
                 %40 where they are a part of a name or a password"
            ))),
            _ if url.contains('#') => Err(self.refused(format_args!("has a '#': write it as %23"))),
            _ => Ok(()),
        }
    }

    pub(super) fn refused(self, why: Arguments<'_>) -> Failure {
        Failure::Input(format!("{} {why}; allowed: {}", self.name, self.allowed))
    }
}

/// Where the heap of this URL is. No message tells a part of it that may hold a password.
pub(crate) fn heap_place(url: &str) -> Result<HeapPlace, Failure> {
    match url.split_once(':') {
        Some((scheme, _)) if redis::is_scheme(scheme) => {
            Namespace::parse(url).map(|namespace| HeapPlace::Redis(Box::new(namespace)))
        }
        _ => HEAP.place(url).map(HeapPlace::Tables),
    }
}

fn is_scheme(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}
