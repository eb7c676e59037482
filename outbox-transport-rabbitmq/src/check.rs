//! What can be found out without publishing.

use crate::config::{RabbitMqConfig, Unroutable};
use crate::connections::Connections;
use crate::error::{refusal, unavailable};
use crate::link::Link;
use crate::publish::troubled;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};
use outbox_core::wire::Template;
use outbox_core::{PublishError, PublishErrorKind, TransportCheck};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Looks for the broker, and for the exchange or the queue that all events need.
pub(crate) async fn check(config: &RabbitMqConfig, connections: &Connections) -> TransportCheck {
    let until = Instant::now() + config.call_timeout;
    let found = TransportCheck::default();
    let link = match connections.link(config, until).await {
        Ok(link) => link,
        Err(problem) => return found.problem(problem),
    };
    if let Some(problem) = troubled(&link.health()) {
        return found.problem(problem);
    }
    let found = notes(config, &link, found);
    let Some(target) = Target::of(config) else {
        return found;
    };
    let asking = timeout_at(until, target.ask(&link));
    let answer = tokio::select! {
        answer = asking => answer,
        trouble = link.trouble() => {
            let problem = troubled(&trouble).unwrap_or_else(|| unavailable("the connection changed"));
            return found.problem(problem);
        }
    };
    match answer {
        Ok(Ok(())) => found,
        Ok(Err(error)) => found.problem(target.problem(config, error)),
        Err(_) => found.problem(unavailable("no answer within the call timeout")),
    }
}

fn notes(config: &RabbitMqConfig, link: &Link, found: TransportCheck) -> TransportCheck {
    let settings = link.connection().configuration();
    let heartbeat = Duration::from_secs(settings.heartbeat().into());
    let headers = settings.frame_max();
    let found = found
        .note(format!(
            "heartbeat {heartbeat:?}, headers of an event up to {headers} bytes"
        ))
        .note("RabbitMQ does not report its largest message: 16 MiB by default, 128 MiB before 4.0")
        .note(
            "RabbitMQ tells only a publisher whether it may write, and whether an alarm blocks it",
        );
    let found = match config.unroutable {
        Unroutable::Wait => found,
        Unroutable::Drop => found.warning("events that are routed to no queue are dropped"),
    };
    let templates = config.exchange.iter().chain([&config.routing_key]);
    let open = templates.filter(|template| template.constant().is_none());
    open.fold(found, |found, template| {
        found.note(format!(
            "what {template} stands for is known only from events"
        ))
    })
}

/// What must exist for all events.
enum Target<'c> {
    Exchange(&'c str),
    Queue(&'c str),
}

impl<'c> Target<'c> {
    fn of(config: &'c RabbitMqConfig) -> Option<Self> {
        match &config.exchange {
            Some(exchange) => exchange.constant().map(Self::Exchange),
            None => config.routing_key.constant().map(Self::Queue),
        }
    }

    /// On a separate channel, because a refusal closes it.
    async fn ask(&self, link: &Link) -> lapin::Result<()> {
        let channel: Channel = link.connection().create_channel().await?;
        let arguments = FieldTable::default();
        match self {
            Self::Exchange(name) => {
                let options = ExchangeDeclareOptions {
                    passive: true,
                    ..ExchangeDeclareOptions::default()
                };
                let (name, kind) = (ShortString::from(*name), ExchangeKind::Topic);
                channel
                    .exchange_declare(name, kind, options, arguments)
                    .await
            }
            Self::Queue(name) => {
                let options = QueueDeclareOptions {
                    passive: true,
                    ..QueueDeclareOptions::default()
                };
                let name = ShortString::from(*name);
                channel
                    .queue_declare(name, options, arguments)
                    .await
                    .map(drop)
            }
        }
    }

    fn problem(&self, config: &RabbitMqConfig, error: lapin::Error) -> PublishError {
        if refusal(&error).is_none() {
            return unavailable(error);
        }
        let name = match self {
            Self::Exchange(name) => format!("{name}/{}", plain(&config.routing_key)),
            Self::Queue(name) => (*name).to_owned(),
        };
        let problem = PublishError::new(PublishErrorKind::Misconfigured);
        problem.with_destination(name).with_source(error)
    }
}

fn plain(template: &Template) -> String {
    template
        .constant()
        .map_or_else(|| template.to_string(), str::to_owned)
}
