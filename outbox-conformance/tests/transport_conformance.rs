//! The memory broker passes the transport suite.

use outbox_conformance::transport::MemoryBroker;

outbox_conformance::transport_suite!(memory, MemoryBroker::new(), delivery, outage, limits);
outbox_conformance::transport_suite!(
    keeping_order,
    MemoryBroker::new().keeping_order(),
    delivery,
    outage,
    limits,
    order
);
