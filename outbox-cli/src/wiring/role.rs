//! What a URL is given for, and what it may be.

use crate::failure::Failure;
use std::fmt::Arguments;

/// What a URL of tables may be, with an ending for what else it may be.
macro_rules! allowed {
    ($ending:literal) => {
        concat!(
            "sqlite:PATH, such as sqlite:shop.db or sqlite:///var/lib/shop.db, with ?mode=rw if the \
             file must exist, \
             or postgres://USER@HOST/DATABASE, with ?schema=NAME unless it is outbox",
            $ending
        )
    };
}

pub(crate) const STORE: Role = Role {
    name: "store",
    allowed: allowed!(""),
};
pub(crate) const HEAP: Role = Role {
    name: "heap",
    allowed: allowed!(", or redis://USER@HOST, with ?namespace=NAME unless it is outbox"),
};
pub(crate) const INBOX: Role = Role {
    name: "inbox",
    allowed: allowed!(""),
};

/// Which destinations are off, in the store's database.
pub(crate) const SWITCHES: Role = Role {
    name: "destinations",
    allowed: allowed!(""),
};
/// The database of a table of HTTP endpoints.
pub(super) const ENDPOINTS: Role = Role {
    name: "database of the endpoints",
    allowed: allowed!(""),
};

/// Where a relay publishes.
pub(crate) const DESTINATION: Role = Role {
    name: "destination",
    allowed: "stdout://, file:PATH, nats://USER@HOST, amqp://USER@HOST/VHOST, redis://USER@HOST, \
              kafka://HOST/TOPIC, postgres://USER@HOST/DATABASE, https://HOST/PATH or webhooks:ID",
};
/// Where dead letters are exported to.
pub(super) const EXPORT: Role = Role {
    name: "destination",
    allowed: "stdout://, file:PATH",
};

/// What a URL is given for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Role {
    name: &'static str,
    allowed: &'static str,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        self.name
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

    /// Refuses a URL of which no backend has the scheme.
    pub(super) fn unknown(self, url: &str) -> Failure {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        if is_scheme(scheme) {
            return self.refused(format_args!("has the unknown scheme {scheme:?}"));
        }
        // "host=db.example password=…", as libpq takes it.
        if url.contains('=') {
            return self.refused(format_args!("is not a URL"));
        }
        self.refused(format_args!("{url:?} is not a URL"))
    }
}

/// Whether the URL has one of the schemes, in any case.
pub(super) fn has_scheme(url: &str, schemes: &[&str]) -> bool {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    schemes
        .iter()
        .any(|known| known.eq_ignore_ascii_case(scheme))
}

fn is_scheme(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}
