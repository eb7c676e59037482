//! The heap on redb passes the suite.

use dlq_redb::RedbDlqHeap;
use outbox_conformance::heap::EmbeddedHeap;

outbox_conformance::dlq_heap_suite!(
    redb,
    EmbeddedHeap::new(
        |path, clock| RedbDlqHeap::open(path).expect("opened").with_clock(clock),
        async |heap, entry| heap.restore(entry).await.expect("planted"),
    ),
    counting,
    races,
    leases,
    cancellation,
    durability,
);
