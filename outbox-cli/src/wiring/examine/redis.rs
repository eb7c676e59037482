//! A heap in Redis.

use super::Finding;
use outbox_core::OutboxError;
use outbox_dlq_redis::RedisDlqHeap;

pub(crate) async fn examine(heap: &RedisDlqHeap) -> Result<Vec<Finding>, OutboxError> {
    let policy = heap.eviction_policy().await?;
    let found = policy.map(|policy| {
        Finding::warning(
            "eviction",
            format!("maxmemory-policy of Redis is {policy}: the server may remove the heap, and with it the counts of failures"),
            "set maxmemory-policy to noeviction or to one of volatile-*, or give the heap a separate server",
        )
    });
    Ok(found.into_iter().collect())
}
