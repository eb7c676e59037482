//! The table of another PostgreSQL database.

use super::{Address, Broker, BrokerKind};
use crate::failure::Failure;
use crate::wiring::postgres::{Database, OF_A_DESTINATION, SCHEMES};
use crate::wiring::role::DESTINATION;
use outbox_core::Transport;
use outbox_transport_postgres::{PostgresTransport, PostgresTransportConfig};
use std::sync::Arc;

pub(super) const POSTGRES: Broker = Broker {
    kind: Some(BrokerKind::Postgres),
    schemes: SCHEMES,
    ours: &[],
    template: None,
    places: &["host", "hostaddr", "port", "dbname", "schema"],
    ours_behind: '?',
    theirs: OF_A_DESTINATION,
    open,
};

fn open(address: &Address) -> Result<Arc<dyn Transport>, Failure> {
    let database = Database::parse(DESTINATION, address.url())?.within(address.pools());
    let config = PostgresTransportConfig::new(database.adapter())
        .form(address.form()?)
        .call_timeout(address.timeout()?);
    Ok(Arc::new(PostgresTransport::open(config)?))
}
