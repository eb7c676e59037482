//! NATS `JetStream`.

use super::{Address, Broker, BrokerKind};
use crate::failure::Failure;
use outbox_core::Transport;
use outbox_core::wire::Template;
use outbox_transport_nats::{NatsConfig, NatsTransport};
use std::sync::Arc;

const SUBJECT: &str = "subject";

pub(super) const NATS: Broker = Broker {
    kind: Some(BrokerKind::Nats),
    schemes: &["nats", "tls"],
    ours: &[SUBJECT],
    template: Some(SUBJECT),
    places: &[SUBJECT],
    ours_behind: '?',
    theirs: &[],
    open,
};

fn open(address: &Address) -> Result<Arc<dyn Transport>, Failure> {
    let mut config = NatsConfig::from_url(address.url())?
        .form(address.form()?)
        .call_timeout(address.timeout()?);
    if let Some(subject) = address.parameter::<Template>(SUBJECT)? {
        config = config.subject(subject);
    }
    Ok(Arc::new(NatsTransport::open(config)?))
}
