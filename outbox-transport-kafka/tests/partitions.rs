//! The partition of a key is that of the Java client, so consumers in any language find it.

mod support;

use outbox_core::Event;
use std::collections::HashMap;
use support::{Cluster, Fake, Mock, TOPIC, all_ok};

const PARTITIONS: u32 = 12;

/// As `org.apache.kafka.common.utils.Utils.murmur2` computes it.
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(key.len()).expect("a short key");
    let mut hash = 0x9747_b28c ^ length;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(M);
        word = (word ^ (word >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ word;
    }
    if !rest.is_empty() {
        let bytes = rest.iter().zip([0, 8, 16]);
        hash ^= bytes.fold(0, |sum, (byte, shift)| sum | u32::from(*byte) << shift);
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The vectors of `UtilsTest.testMurmur2` in Apache Kafka.
#[test]
fn the_hash_of_this_test_is_that_of_the_java_client() {
    for (key, hash) in [
        ("21", -973_932_308_i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        (
            "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
            -58_897_971,
        ),
        ("abc", 479_470_107),
    ] {
        assert_eq!(murmur2(key.as_bytes()), hash.cast_unsigned(), "{key}");
    }
}

async fn check(cluster: impl Cluster) {
    let mut keys: Vec<String> = (0..16).map(|number| format!("order-{number}")).collect();
    keys.extend(
        [
            "",
            "foobar",
            "clé",
            "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
        ]
        .map(String::from),
    );
    assert_eq!(keys.len(), 20);
    let event = |key: &String| Event::new("order.placed", "x").ordering_key(key.clone());
    let events: Vec<Event> = keys.iter().map(event).collect();
    all_ok(&cluster.transport(), &events).await;
    let arrived = cluster.arrived(TOPIC).await.into_iter();
    let found: HashMap<_, _> = arrived
        .map(|arrived| (arrived.key, arrived.partition))
        .collect();
    for key in keys {
        let partition = (murmur2(key.as_bytes()) & 0x7fff_ffff) % PARTITIONS;
        let bytes = Some(key.clone().into_bytes());
        assert_eq!(
            found[&bytes],
            i32::try_from(partition).expect("small"),
            "{key:?}"
        );
    }
}

#[tokio::test]
async fn twenty_keys_are_where_the_java_client_puts_them() {
    check(Fake::start_cluster(3, 12).await).await;
    check(Mock::start(3, 12)).await;
}

#[tokio::test]
async fn events_without_a_key_have_none() {
    let fake = Fake::start(3).await;
    all_ok(&fake.transport(), &[Event::new("order.placed", "x")]).await;
    assert_eq!(fake.arrived(TOPIC).await[0].key, None);
}
