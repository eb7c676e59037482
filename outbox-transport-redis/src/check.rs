//! What can be found out without publishing.

use crate::Inner;
use crate::limits::Limits;
use crate::reply::{answer, is_of_the_stream, server_error};
use crate::sending::no_stream;
use outbox_core::{OutboxError, PublishError, PublishErrorKind, TransportCheck};
use outbox_driver_redis::redis::{FromRedisValue, Pipeline, RedisResult, Value, cmd};
use tokio::time::timeout;

const CHECK: &str = "check";

/// The key of the requests that are about no stream, and only find a node of a cluster.
const ANY: &str = "outbox";

/// What the server says of itself and of a stream. What the user may not ask is empty.
struct Facts {
    /// `none` if the key does not exist.
    key_type: String,
    info: String,
}

impl Inner {
    pub(crate) async fn check(&self) -> TransportCheck {
        let limit = self.call_timeout;
        let Ok(found) = timeout(limit, self.find()).await else {
            let error = PublishError::new(PublishErrorKind::Unavailable);
            let error = error.with_source(format!("no answer within {limit:?}"));
            return TransportCheck::default().problem(error);
        };
        found.unwrap_or_else(|error| TransportCheck::default().problem(self.problem(error)))
    }

    async fn find(&self) -> Result<TransportCheck, OutboxError> {
        let facts = self.facts().await?;
        let limits = Limits::read(&self.connection, CHECK, self.largest).await?;
        let found = TransportCheck::default().note(limits.note());
        let found = self.replicas(durability(found, &facts), &facts);
        let Some(stream) = self.stream.constant() else {
            self.permitted().await?;
            return Ok(found.note("streams depend on the events, so none was looked for"));
        };
        Ok(match self.rehearse(stream).await {
            Err(error) => found.problem(self.problem(error)),
            Ok(()) => self.stream_problems(found, stream, &facts.key_type),
        })
    }

    async fn facts(&self) -> Result<Facts, OutboxError> {
        let mut pipeline = Pipeline::with_capacity(4);
        pipeline
            .cmd("TYPE")
            .arg(self.stream.constant().unwrap_or(ANY));
        for section in ["memory", "persistence", "replication"] {
            pipeline.cmd("INFO").arg(section);
        }
        self.connection.pipeline(CHECK, &pipeline, facts).await
    }

    /// Queues an entry and discards it: the server checks the rights, the slot, its memory and its role
    /// as it does for an entry that is added.
    async fn rehearse(&self, stream: &str) -> Result<(), OutboxError> {
        self.permitted().await?;
        let mut entry = self.adding.begin(stream, 1, 0);
        entry.arg("outbox-check").arg("");
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.add_command(cmd("MULTI"));
        pipeline.add_command(entry);
        pipeline.add_command(cmd("DISCARD"));
        let read = |replies: Vec<Value>| match replies.get(1).and_then(server_error) {
            Some(error) => Err(error.clone().into()),
            None => Ok(()),
        };
        self.connection.pipeline(CHECK, &pipeline, read).await
    }

    fn stream_problems(&self, found: TransportCheck, stream: &str, kind: &str) -> TransportCheck {
        match kind {
            "none" if !self.adding.is_created => found.problem(no_stream(stream)),
            "none" => found.note(format!(
                "the stream {stream:?} does not exist: the first event creates it"
            )),
            "stream" | "" => found,
            other => found.problem(
                PublishError::new(PublishErrorKind::Misconfigured)
                    .with_destination(stream)
                    .with_source(format!("the key is a {other}, but must be a stream")),
            ),
        }
    }

    fn replicas(&self, found: TransportCheck, facts: &Facts) -> TransportCheck {
        let connected = facts
            .field("connected_slaves")
            .and_then(|text| text.parse::<u32>().ok());
        let Some((wait, connected)) = self.wait.zip(connected) else {
            return found;
        };
        let wanted: u32 = wait.replicas;
        if connected >= wanted {
            return found;
        }
        let problem = format!("{connected} replicas are connected, but must be at least {wanted}");
        let error = PublishError::new(PublishErrorKind::Unavailable);
        found.problem(error.with_source(problem))
    }

    fn problem(&self, error: OutboxError) -> PublishError {
        let stream = self.stream.constant();
        let is_named = self.is_cluster || is_of_the_stream(&error);
        answer(error, stream.filter(|_| is_named))
    }
}

/// An error other than a refusal of one of the commands is the check's.
fn facts(replies: Vec<Value>) -> RedisResult<Facts> {
    let mut texts = replies.into_iter().map(|reply| match server_error(&reply) {
        Some(error) if error.code() == "NOPERM" => Ok(String::new()),
        Some(error) => Err(error.clone().into()),
        None => Ok(String::from_redis_value(reply)?),
    });
    let key_type = texts.next().unwrap_or_else(|| Ok(String::new()))?;
    let info = texts.collect::<RedisResult<String>>()?;
    Ok(Facts { key_type, info })
}

/// Warnings of what loses events that were accepted.
fn durability(mut found: TransportCheck, facts: &Facts) -> TransportCheck {
    let policy = facts.field("maxmemory_policy").unwrap_or_default();
    let is_limited = facts.field("maxmemory").is_some_and(|limit| limit != "0");
    if is_limited && policy.starts_with("allkeys") {
        found = found.warning(format!(
            "maxmemory-policy is {policy}: the server may remove whole streams; set noeviction or \
             volatile-*"
        ));
    }
    if facts.field("aof_enabled") == Some("0") {
        found = found.warning(
            "appendonly is off: a crash of the server loses the events since its last snapshot",
        );
    }
    found
}

impl Facts {
    fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.info.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    }
}
