//! The Redis heap passes the suite: in a plain namespace, in one with unusual characters, in a cluster,
//! over a proxy that splits replies, and, with the feature, over TLS. Each handle has a separate
//! connection.

use async_trait::async_trait;
use outbox_conformance::heap::{
    CorruptFixture, CrashFixture, HeapFixture, NamedFixture, WireFixture,
};
use outbox_conformance::{TcpWire, Wire};
use outbox_core::{DlqEntry, DlqHeap, EventId, OutboxError};
#[cfg(feature = "tls-rustls-ring-native-roots")]
use outbox_dlq_redis::redis::TlsCertificates;
use outbox_dlq_redis::redis::cluster::ClusterClient;
use outbox_dlq_redis::redis::{Client, ConnectionLike, cmd};
use outbox_dlq_redis::{ClockShift, RedisConfig, RedisDlqHeap, Server};
use std::collections::BTreeSet;
#[cfg(feature = "tls-rustls-ring-native-roots")]
use std::sync::LazyLock;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};
use test_servers::{Kind, Server as Started, search_path};
use url::Url;
use uuid::Uuid;

/// Namespaces that start with an id of the case. Their keys are deleted with it.
struct Fixture {
    kind: Kind,
    /// Replaces `url`, for TLS or a proxy.
    client: Option<Client>,
    url: String,
    case: String,
    namespace: &'static str,
    opened: Mutex<BTreeSet<String>>,
    shift: ClockShift,
    /// A proxy in front of the server at `url`.
    wire: OnceLock<TcpWire>,
    /// A server that the case may kill.
    server: Option<Mutex<Started>>,
}

impl Fixture {
    fn new(kind: Kind, namespace: &'static str) -> Self {
        Self {
            kind,
            client: None,
            url: test_servers::url(kind).unwrap_or_else(|error| panic!("{error}")),
            case: Uuid::new_v4().to_string(),
            namespace,
            opened: Mutex::default(),
            shift: ClockShift::default(),
            wire: OnceLock::new(),
            server: None,
        }
    }

    /// On a separate server that writes each change to the disk before it replies.
    fn that_syncs(namespace: &'static str) -> Self {
        let settings = ["--appendonly", "yes", "--appendfsync", "always"];
        let server = Started::start_redis(&search_path(), None, &settings).expect("a server");
        let mut fixture = Self::new(Kind::Redis, namespace);
        server.url().clone_into(&mut fixture.url);
        fixture.server = Some(Mutex::new(server));
        fixture
    }

    /// All connections go through a proxy that splits replies.
    fn over_a_slow_wire(namespace: &'static str) -> Self {
        let mut fixture = Self::new(Kind::Redis, namespace);
        fixture.client = Some(fixture.over_the_wire());
        fixture.wire.get().expect("a wire").dribble();
        fixture
    }

    fn over_the_wire(&self) -> Client {
        let mut server = Url::parse(&self.url).expect("a URL");
        let wire = self.wire.get_or_init(|| {
            let host = server.host_str().expect("a host");
            let address = (host, server.port().unwrap_or(6379));
            TcpWire::to(address).expect("a wire")
        });
        let port = wire.port();
        server.set_host(Some("127.0.0.1")).expect("a host");
        server.set_port(Some(port)).expect("a port");
        Client::open(server).expect("a URL")
    }

    /// On a server of this process that accepts only TLS.
    #[cfg(feature = "tls-rustls-ring-native-roots")]
    fn tls(namespace: &'static str) -> Self {
        static REDIS: LazyLock<test_servers::tls::Redis> = LazyLock::new(|| {
            test_servers::tls::Redis::start().unwrap_or_else(|error| panic!("{error}"))
        });
        let root = std::fs::read(REDIS.authority()).expect("read");
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: Some(root),
        };
        let client = Client::build_with_tls(REDIS.url(), certificates).expect("a URL");
        let mut fixture = Self::new(Kind::Redis, namespace);
        fixture.client = Some(client);
        fixture
    }

    async fn open(&self, name: &str) -> Result<Arc<dyn DlqHeap>, OutboxError> {
        let server = match (&self.client, self.kind) {
            (Some(client), _) => Ok(client.clone().into()),
            (None, Kind::RedisCluster) => {
                Server::from_url(&self.url.replace("redis:", "redis+cluster:"))
            }
            (None, _) => Server::from_url(&self.url),
        };
        self.open_on(server?, name).await
    }

    async fn open_on(&self, server: Server, name: &str) -> Result<Arc<dyn DlqHeap>, OutboxError> {
        let namespace = format!("{}{name}", self.case);
        let heap = RedisDlqHeap::open(RedisConfig::new(server).namespace(&namespace)).await?;
        self.opened.lock().expect("no panic").insert(namespace);
        Ok(Arc::new(heap.with_clock_shift(self.shift.clone())))
    }

    fn connect(&self) -> Box<dyn ConnectionLike> {
        if self.kind == Kind::RedisCluster {
            let client = ClusterClient::new([&*self.url]).expect("a URL");
            return Box::new(client.get_connection().expect("connected"));
        }
        let client = match &self.client {
            Some(client) => client.clone(),
            None => Client::open(&*self.url).expect("a URL"),
        };
        Box::new(client.get_connection().expect("connected"))
    }

    fn key(&self, name: &str) -> String {
        key(&format!("{}{}", self.case, self.namespace), name)
    }

    fn plant_member(&self, key: &str, member: &str, score: &str) {
        let mut add = cmd("ZADD");
        add.arg(&[&self.key(key), score, member]);
        add.exec(&mut *self.connect()).expect("planted");
    }

    fn plant_details(&self, id: EventId, details: &[u8]) {
        let mut set = cmd("HSET");
        set.arg(self.key("details"))
            .arg(id.to_string())
            .arg(details);
        set.exec(&mut *self.connect()).expect("planted");
    }
}

fn key(namespace: &str, name: &str) -> String {
    format!("outbox-dlq:{{{namespace}}}:{name}")
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the keys of the failed case start with {}",
                key(&self.case, "")
            );
            return;
        }
        let mut connection = self.connect();
        for namespace in &*self.opened.lock().expect("no panic") {
            let names = ["counts", "turns", "first", "details", "aside"];
            let keys = names.map(|name| key(namespace, name));
            cmd("UNLINK")
                .arg(&keys)
                .exec(&mut *connection)
                .expect("deleted");
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
            time.expect("after 1970").as_micros().to_string()
        };
        let (id, first) = (entry.id.to_string(), micros(entry.first_failed_at));
        self.plant_member("counts", &id, &entry.failure_count.to_string());
        self.plant_member("turns", &id, &first);
        self.plant_member("first", &id, &first);
        self.plant_details(entry.id, micros(entry.last_failed_at).as_bytes());
    }
}

#[async_trait]
impl CrashFixture for Fixture {
    async fn crash(&self) {
        let server = self.server.as_ref().expect("a separate server");
        let crashed = || server.lock().expect("no panic").crash();
        tokio::task::block_in_place(crashed).expect("back");
    }
}

#[async_trait]
impl WireFixture for Fixture {
    async fn wired(&self) -> Arc<dyn DlqHeap> {
        let server = self.over_the_wire().into();
        self.open_on(server, self.namespace).await.expect("opened")
    }

    fn wire(&self) -> &dyn Wire {
        self.wire.get().expect("a handle over it")
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
        let plant = |key, member: &str, score| self.plant_member(key, member, score);
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
        self.plant_details(whole[0], b"17 not UTF-8: \xff");
        self.plant_details(whole[1], b"no time");
        whole
    }
}

outbox_conformance::dlq_heap_suite!(
    plain_namespace,
    Fixture::new(Kind::Redis, "heap"),
    counting,
    races,
    leases,
    cancellation,
    durability,
    names,
    corruption,
    wire,
);
outbox_conformance::dlq_heap_suite!(
    slow_wire,
    Fixture::over_a_slow_wire("heap"),
    counting,
    races,
    leases,
    cancellation,
    durability,
    names,
    corruption,
);
outbox_conformance::dlq_heap_suite!(
    odd_namespace,
    Fixture::new(Kind::Redis, " \"héap\" o'clock:*?[a-z]\\ 100 %"),
    counting,
    races,
    leases,
    cancellation,
    durability,
    names,
    corruption,
);
outbox_conformance::dlq_heap_suite!(
    append_only,
    Fixture::that_syncs("heap"),
    durability,
    crashes,
);
outbox_conformance::dlq_heap_suite!(
    cluster,
    Fixture::new(Kind::RedisCluster, "heap"),
    counting,
    races,
    leases,
    cancellation,
    durability,
    names,
    corruption,
);
#[cfg(feature = "tls-rustls-ring-native-roots")]
outbox_conformance::dlq_heap_suite!(
    tls,
    Fixture::tls("heap"),
    counting,
    races,
    leases,
    cancellation
);
