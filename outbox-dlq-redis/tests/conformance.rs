//! The Redis heap passes the suite, in a plain namespace and in one with odd characters. Each handle
//! has a connection of its own.

use async_trait::async_trait;
use outbox_conformance::heap::{CorruptFixture, HeapFixture, NamedFixture};
use outbox_core::{DlqEntry, DlqHeap, EventId, OutboxError};
use outbox_dlq_redis::redis::{self, Client, Commands, Connection};
use outbox_dlq_redis::{ClockShift, RedisDlqHeap, Server};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use test_servers::Kind;
use uuid::Uuid;

/// Namespaces that begin with an id of the case. All their keys go with it.
struct Fixture {
    url: String,
    case: String,
    namespace: &'static str,
    shift: ClockShift,
}

impl Fixture {
    fn new(namespace: &'static str) -> Self {
        Self {
            url: test_servers::url(Kind::Redis).unwrap_or_else(|error| panic!("{error}")),
            case: Uuid::new_v4().to_string(),
            namespace,
            shift: ClockShift::default(),
        }
    }

    async fn open(&self, name: &str) -> Result<Arc<dyn DlqHeap>, OutboxError> {
        let server = Server::from_url(&self.url)?;
        let heap = RedisDlqHeap::open(server, &format!("{}{name}", self.case)).await?;
        Ok(Arc::new(heap.with_clock_shift(self.shift.clone())))
    }

    fn connect(&self) -> Connection {
        let client = Client::open(&*self.url).expect("a URL");
        client.get_connection().expect("connected")
    }

    fn key(&self, name: &str) -> String {
        format!("outbox-dlq:{{{}{}}}:{name}", self.case, self.namespace)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the keys of the failed case begin with outbox-dlq:{{{}",
                self.case
            );
            return;
        }
        let mut connection = self.connect();
        let pattern = format!("outbox-dlq:{{{}*", self.case);
        let keys: Vec<Vec<u8>> = connection
            .scan_match(pattern)
            .expect("scanned")
            .map(|key| key.expect("a key"))
            .collect();
        for key in keys {
            connection.del::<_, ()>(key).expect("deleted");
        }
    }
}

#[async_trait]
impl HeapFixture for Fixture {
    async fn handle(&self) -> Arc<dyn DlqHeap> {
        self.open(self.namespace).await.expect("opened")
    }

    async fn neighbour(&self) -> Arc<dyn DlqHeap> {
        let neighbour = format!("{}:counts", self.namespace);
        self.open(&neighbour).await.expect("opened")
    }

    async fn elapse(&self, time: Duration) {
        self.shift.advance(time);
    }

    async fn plant(&self, entry: DlqEntry) {
        let micros = |time: SystemTime| {
            let time = time.duration_since(SystemTime::UNIX_EPOCH);
            u64::try_from(time.expect("after 1970").as_micros()).expect("before 586912")
        };
        let (id, first) = (entry.id.to_string(), micros(entry.first_failed_at));
        redis::pipe()
            .zadd(self.key("counts"), &id, entry.failure_count)
            .zadd(self.key("turns"), &id, first)
            .zadd(self.key("first"), &id, first)
            .hset(self.key("details"), &id, micros(entry.last_failed_at))
            .exec(&mut self.connect())
            .expect("planted");
    }
}

#[async_trait]
impl NamedFixture for Fixture {
    async fn named(&self, name: &str) -> Result<Arc<dyn DlqHeap>, OutboxError> {
        self.open(name).await
    }
}

#[async_trait]
impl CorruptFixture for Fixture {
    async fn plant_corrupt(&self, id: EventId) -> Vec<EventId> {
        let mut connection = self.connect();
        let mut plant = |key: &str, member: &str, score: &str| {
            redis::cmd("ZADD")
                .arg(&[&self.key(key), score, member])
                .exec(&mut connection)
                .expect("planted");
        };
        let new = || EventId::new().to_string();
        plant("counts", &id.to_string(), "-1");
        for count in ["0", "2.5", "4294967296", "1e300", "-inf", "+inf"] {
            plant("counts", &new(), count);
        }
        plant("counts", "", "7");
        plant("counts", &new()[1..], "7");
        plant("counts", &new().to_uppercase(), "7");
        plant("counts", &format!("{}\n", new()), "7");
        plant("turns", "a stranger", "1");
        plant("turns", &new(), "1");
        plant("first", "a stranger", "1");
        let whole: Vec<EventId> = (0..3).map(|_| EventId::new()).collect();
        for id in &whole {
            plant("counts", &id.to_string(), "1");
        }
        let details = self.key("details");
        let set = |id: &EventId, text: &[u8], connection: &mut Connection| {
            let set = connection.hset::<_, _, _, ()>(&details, id.to_string(), text);
            set.expect("planted");
        };
        set(&whole[0], b"17 not UTF-8: \xff", &mut connection);
        set(&whole[1], b"no time", &mut connection);
        whole
    }
}

outbox_conformance::dlq_heap_suite!(
    plain_namespace,
    Fixture::new("heap"),
    counting,
    races,
    leases,
    durability,
    names,
    corruption,
);
outbox_conformance::dlq_heap_suite!(
    odd_namespace,
    Fixture::new(" \"héap\" o'clock:*?[a-z]\\ 100 %"),
    counting,
    races,
    leases,
    durability,
    names,
    corruption,
);
