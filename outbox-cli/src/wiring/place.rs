//! What a URL of the store or the heap names.

use super::postgres::Database;
use crate::failure::Failure;
use std::fmt::Arguments;

pub(crate) const STORE: Role = Role("store");
pub(crate) const HEAP: Role = Role("heap");

const ALLOWED: &str = "sqlite:PATH, such as sqlite:shop.db or sqlite:///var/lib/shop.db, \
                       or postgres://USER@HOST/DATABASE, with ?schema=NAME unless it is outbox";

/// Where tables are.
pub(crate) enum Place {
    /// The path of a file.
    Sqlite(String),
    Postgres(Box<Database>),
}

/// What a URL is given for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Role(&'static str);

impl Role {
    pub(crate) fn name(self) -> &'static str {
        self.0
    }

    /// Reads the URL. No message tells a part of it that may hold a password.
    pub(crate) fn place(self, url: &str) -> Result<Place, Failure> {
        let (scheme, rest) = url.split_once(':').unwrap_or(("", ""));
        match scheme {
            "sqlite" => self.path(url, rest).map(Place::Sqlite),
            "postgres" | "postgresql" => {
                Database::parse(self, url).map(|database| Place::Postgres(Box::new(database)))
            }
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

    pub(super) fn refused(self, why: Arguments<'_>) -> Failure {
        Failure::Input(format!("{} {why}; allowed: {ALLOWED}", self.0))
    }
}

fn is_scheme(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}
