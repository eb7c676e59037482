//! A stream of Redis.

use super::{NAME, Remote, failed, foreign};
use crate::failure::Failure;
use async_trait::async_trait;
use outbox_core::Event;
use outbox_driver_redis::{Server, SharedConnection};
use outbox_transport_redis::redis::{FromRedisValue, Pipeline, Value, pipe};

/// How many entries are read at once.
const PAGE: usize = 500;

/// The fields that the first entry of a stream of the demo's has one of.
const OURS: [&str; 3] = ["outbox-id", "ce-id", "id"];

pub(super) struct Place(SharedConnection);

/// An entry: its id, and its fields with their values.
type Entry = (String, Vec<(String, Vec<u8>)>);

impl Place {
    pub(super) async fn afresh(url: &str) -> Result<Self, Failure> {
        let place = Self(SharedConnection::new(Server::from_url(url)?));
        let kind: String = place.ask(pipe().cmd("TYPE").arg(NAME)).await?;
        match &*kind {
            "none" => return Ok(place),
            "stream" => {}
            _ => return Err(foreign("key")),
        }
        let first = place.page("-", 1).await?;
        let is_ours = |(_, fields): &Entry| fields.iter().any(|(name, _)| OURS.contains(&&**name));
        if !first.iter().all(is_ours) {
            return Err(foreign("stream"));
        }
        place.ask::<i64>(pipe().cmd("DEL").arg(NAME)).await?;
        Ok(place)
    }

    async fn page(&self, from: &str, count: usize) -> Result<Vec<Entry>, Failure> {
        let mut range = pipe();
        range.cmd("XRANGE").arg(NAME).arg(from).arg("+");
        self.ask(range.arg("COUNT").arg(count)).await
    }

    /// Sends a command.
    async fn ask<T: FromRedisValue>(&self, command: &Pipeline) -> Result<T, Failure> {
        let first = |replies: Vec<Value>| {
            let reply = replies.into_iter().next().unwrap_or(Value::Nil);
            Ok(T::from_redis_value(reply.extract_error()?)?)
        };
        let asked = self.0.pipeline("demo", command, first);
        asked.await.map_err(failed)
    }
}

#[async_trait]
impl Remote for Place {
    fn name(&self) -> String {
        format!("the stream {NAME:?}")
    }

    fn parameters(&self) -> &'static str {
        "stream=outbox_demo"
    }

    async fn read(&mut self) -> Result<Vec<Event>, Failure> {
        let mut events = Vec::new();
        let mut from = "-".to_owned();
        loop {
            let page = self.page(&from, PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(events);
            };
            from = format!("({last}");
            for (_, fields) in page {
                events.push(outbox_transport_redis::read(fields)?);
            }
        }
    }
}
