//! Endpoints from a table, and which destinations a person has to switch on again.

use async_trait::async_trait;
use outbox_core::OutboxError;
use std::fmt::{self, Debug};

/// Where the endpoints of a program with many customers come from, such as a table.
///
/// ```
/// # use outbox_core::OutboxError;
/// # use outbox_transport_http::{Endpoint, Endpoints};
/// #[derive(Debug)]
/// struct Fixed;
///
/// #[async_trait::async_trait]
/// impl Endpoints for Fixed {
///     async fn endpoints(&self) -> Result<Vec<Endpoint>, OutboxError> {
///         let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
///         Ok(vec![Endpoint::new("customer-7", "https://seven.example/hooks", secret)])
///     }
/// }
/// ```
#[async_trait]
pub trait Endpoints: Send + Sync + Debug {
    /// All endpoints. It is called with the first events, and again after each
    /// [interval](crate::HttpConfig::refresh). If it fails, the endpoints stay as they were.
    async fn endpoints(&self) -> Result<Vec<Endpoint>, OutboxError>;
}

/// An endpoint. One that cannot be used costs only its own events, which wait.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct Endpoint {
    /// The id by which events name it. It is the name of the destination.
    pub id: String,
    /// The URL, without placeholders.
    pub url: String,
    /// The secrets that sign requests, between blanks or in lines. Empty: requests are not signed.
    pub secrets: String,
}

impl Endpoint {
    /// The endpoint with this id.
    pub fn new(id: impl Into<String>, url: impl Into<String>, secrets: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            url: url.into(),
            secrets: secrets.into(),
        }
    }
}

impl Debug for Endpoint {
    /// Without the URL and the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Keeps the destinations that are off, until a person switches them on: all relays, and those that are
/// started later, send nothing to them.
///
/// An endpoint that answers 410 is switched off. Without this it is off until the program ends.
#[async_trait]
pub trait Switches: Send + Sync + Debug {
    /// The names of all destinations that are off. It is called as [`Endpoints::endpoints`] is.
    async fn off(&self) -> Result<Vec<String>, OutboxError>;

    /// Switches a destination off. One that is off stays so.
    async fn switch_off(&self, destination: &str, reason: &str) -> Result<(), OutboxError>;
}
