//! A fixture may have the name of a crate that its file uses.

use outbox_conformance::transport::MemoryBroker;
use uuid::Uuid;

outbox_conformance::transport_suite!(uuid, broker(Uuid::nil()), delivery);

fn broker(_: Uuid) -> MemoryBroker {
    MemoryBroker::new()
}
