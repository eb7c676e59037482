//! Several events in a request.

use bytes::Bytes;
use std::num::NonZeroUsize;

/// The most bytes of a request that has several events. A single event may have more.
pub(crate) const LARGEST: usize = 1 << 20;

/// The form of a request with several events, and the most that it may have.
///
/// The endpoint must take all of them or none. If it refuses them, each half is sent alone, until the
/// events that it refuses are alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Batch {
    /// A JSON array of CloudEvents, `application/cloudevents-batch+json`.
    CloudEvents(NonZeroUsize),
    /// A CloudEvent a line, `application/x-ndjson`.
    Ndjson(NonZeroUsize),
}

/// The media types of both forms.
pub(crate) const CLOUDEVENTS: &str = "application/cloudevents-batch+json";
pub(crate) const NDJSON: &str = "application/x-ndjson";

impl Batch {
    pub(crate) fn most(self) -> usize {
        match self {
            Self::CloudEvents(most) | Self::Ndjson(most) => most.get(),
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::CloudEvents(_) => CLOUDEVENTS,
            Self::Ndjson(_) => NDJSON,
        }
    }

    /// The body of a request with these JSON objects, which have no line breaks.
    pub(crate) fn body<'b>(self, objects: impl Iterator<Item = &'b Bytes> + Clone) -> Bytes {
        let (start, between, end) = match self {
            Self::CloudEvents(_) => ("[", ",", "]"),
            Self::Ndjson(_) => ("", "\n", "\n"),
        };
        let size: usize = objects.clone().map(|object| object.len() + 1).sum();
        let mut body = Vec::with_capacity(size + 2);
        body.extend_from_slice(start.as_bytes());
        for (number, object) in objects.enumerate() {
            if number > 0 {
                body.extend_from_slice(between.as_bytes());
            }
            body.extend_from_slice(object);
        }
        body.extend_from_slice(end.as_bytes());
        body.into()
    }
}
