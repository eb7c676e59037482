//! What can be found out without publishing.

use crate::Inner;
use crate::connection::{Connection, unavailable};
use crate::lookup::Lookup;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use outbox_core::{PublishError, PublishErrorKind, TransportCheck};
use std::error::Error;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The longest delay of a retry by default. An event that is published again later is stored twice.
const LONGEST_RETRY: Duration = Duration::from_secs(300);

pub(crate) async fn check(inner: &Inner) -> TransportCheck {
    let check = TransportCheck::default();
    let limit = inner.call_timeout;
    let deadline = Instant::now() + limit;
    let connected = timeout_at(deadline, inner.connections.connection()).await;
    let late = |_| Err(unavailable(format!("no connection within {limit:?}")));
    let connection = match connected.unwrap_or_else(late) {
        Ok(connection) => connection,
        Err(error) => return check.problem(error),
    };
    let server = connection.client.server_info();
    let check = check.note(format!(
        "NATS {} takes messages of up to {} bytes with their headers",
        server.version, server.max_payload
    ));
    let constant = inner.subject.constant();
    let template = inner.subject.to_string();
    let subject = constant.map_or_else(|| pattern(&template), str::to_owned);
    let misconfigured = |problem: String| {
        let error = PublishError::new(PublishErrorKind::Misconfigured).with_source(problem);
        match constant {
            Some(subject) => error.with_destination(subject),
            None => error,
        }
    };
    match connection.look(&subject, deadline).await {
        Lookup::Missing => check.problem(misconfigured(format!("no stream takes {subject}"))),
        Lookup::Silent => check.problem(unavailable(format!("no answer within {limit:?}"))),
        Lookup::Unknown(error) => check.note(format!(
            "cannot find out which stream takes {subject}: {error}"
        )),
        Lookup::Found(name) => match config(&connection, &name, deadline).await {
            Ok(config) => {
                let check = check
                    .note(describe(&config, &subject))
                    .duplicate_window(config.duplicate_window);
                let check = facts(check, &config);
                obstacles(check, &config, misconfigured)
            }
            Err(error) => check.note(format!(
                "stream {name} takes {subject}; cannot read its configuration: {error}"
            )),
        },
    }
}

/// The subjects that a template can make: all under the parts that are constant.
fn pattern(template: &str) -> String {
    let constant = template.split('{').next().unwrap_or_default();
    match constant.rsplit_once('.') {
        Some((parts, _)) => format!("{parts}.>"),
        None => ">".to_owned(),
    }
}

async fn config(
    connection: &Connection,
    name: &str,
    deadline: Instant,
) -> Result<Config, Box<dyn Error + Send + Sync>> {
    let refused = connection.refused_request();
    let read = async {
        tokio::select! {
            stream = connection.jetstream.get_stream(name) => {
                Ok(stream?.cached_info().config.clone())
            }
            text = refused => Err(text.into()),
        }
    };
    timeout_at(deadline, read).await?
}

fn describe(config: &Config, subject: &str) -> String {
    let name = &config.name;
    let largest = match config.max_message_size {
        1.. => format!("messages of up to {} bytes", config.max_message_size),
        _ => "messages of any size that the server takes".to_owned(),
    };
    let storage = match config.storage {
        StorageType::File => "on disk",
        StorageType::Memory => "in memory",
    };
    let (window, replicas) = (config.duplicate_window, config.num_replicas);
    format!(
        "stream {name} takes {subject}: {largest}, {storage}, replicas: {replicas}, duplicates are \
         recognised for {window:?}"
    )
}

/// Adds what may lose or repeat messages.
fn facts(mut check: TransportCheck, config: &Config) -> TransportCheck {
    let name = &config.name;
    let mut warn = |text: String| check.warnings.push(format!("stream {name} {text}"));
    if config.duplicate_window < LONGEST_RETRY {
        warn(format!(
            "recognises duplicates for {:?} only: an event that a relay publishes again after its \
             longest delay, 5 minutes by default, is stored twice",
            config.duplicate_window
        ));
    }
    if config.storage == StorageType::Memory {
        warn("is in memory: a server that restarts loses its messages".to_owned());
    }
    let limits = [
        config.max_messages,
        config.max_bytes,
        config.max_messages_per_subject,
    ];
    if config.discard == DiscardPolicy::Old && limits.iter().any(|limit| *limit > 0) {
        warn("removes its oldest messages when it is full, also unread ones: set its discard policy to new".to_owned());
    }
    if !config.max_age.is_zero() {
        warn(format!(
            "removes messages after {:?}, also unread ones",
            config.max_age
        ));
    }
    if config.retention == RetentionPolicy::Interest {
        warn("removes messages at once while it has no consumer".to_owned());
    }
    check
}

/// Adds what makes each publish fail.
fn obstacles(
    mut check: TransportCheck,
    config: &Config,
    misconfigured: impl Fn(String) -> PublishError,
) -> TransportCheck {
    let name = &config.name;
    if config.no_ack {
        let problem = format!("stream {name} has no_ack, but must acknowledge messages");
        check = check.problem(misconfigured(problem));
    }
    if config.sealed {
        check = check.problem(misconfigured(format!("stream {name} is sealed")));
    }
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_of_a_template_has_its_constant_parts() {
        for (template, expected) in [
            ("outbox.{type}", "outbox.>"),
            ("{type}", ">"),
            ("shop.eu.{type}.{key}", "shop.eu.>"),
            ("shop.orders-{key}", "shop.>"),
            ("orders-{key}.x", ">"),
        ] {
            assert_eq!(pattern(template), expected, "{template}");
        }
    }
}
