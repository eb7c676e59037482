//! `RabbitMQ`.

use super::{Address, Broker, BrokerKind};
use crate::failure::Failure;
use outbox_core::Transport;
use outbox_core::wire::Template;
use outbox_transport_rabbitmq::{RabbitMqConfig, RabbitMqTransport, Unroutable};
use std::str::FromStr;
use std::sync::Arc;

const EXCHANGE: &str = "exchange";
const ROUTING_KEY: &str = "routing_key";
const UNROUTABLE: &str = "unroutable";

pub(super) const RABBITMQ: Broker = Broker {
    kind: Some(BrokerKind::RabbitMq),
    schemes: &["amqp", "amqps"],
    ours: &[EXCHANGE, ROUTING_KEY, UNROUTABLE],
    template: Some(ROUTING_KEY),
    places: &[EXCHANGE, ROUTING_KEY],
    ours_behind: '?',
    theirs: &[&["heartbeat", "frame_max", "channel_max", "auth_mechanism"]],
    open,
};

fn open(address: &Address) -> Result<Arc<dyn Transport>, Failure> {
    let mut config = RabbitMqConfig::from_url(address.url())?
        .form(address.form()?)
        .call_timeout(address.timeout()?);
    if address.value(EXCHANGE) == Some("") {
        config = config.default_exchange();
    } else if let Some(exchange) = address.parameter::<Template>(EXCHANGE)? {
        config = config.exchange(exchange);
    }
    if let Some(routing_key) = address.parameter::<Template>(ROUTING_KEY)? {
        config = config.routing_key(routing_key);
    }
    if let Some(Named(unroutable)) = address.parameter(UNROUTABLE)? {
        config = config.unroutable(unroutable);
    }
    Ok(Arc::new(RabbitMqTransport::open(config)?))
}

struct Named(Unroutable);

impl FromStr for Named {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "wait" => Ok(Self(Unroutable::Wait)),
            "drop" => Ok(Self(Unroutable::Drop)),
            _ => Err("it must be wait or drop"),
        }
    }
}
