//! The same random script on all heaps at once gives the same answers.

use async_trait::async_trait;
use outbox_conformance::heap::{Call, HeapFixture, Script, Step};
use outbox_conformance::{Folder, ManualClock, seeds};
use outbox_core::{DlqEntry, DlqHeap, EventId};
use outbox_dlq_memory::MemoryDlqHeap;
use outbox_dlq_postgres::PostgresDlqHeap;
use outbox_dlq_redis::{ClockShift, RedisConfig, RedisDlqHeap, Server, redis};
use outbox_dlq_sqlite::SqliteDlqHeap;
use std::sync::Arc;
use std::time::Duration;
use test_servers::Kind;
use test_servers::postgres::Database;

const SCRIPTS: u64 = 20;

/// One empty heap of each store.
enum Heap {
    Memory(MemoryDlqHeap, ManualClock),
    Sqlite(Folder, ManualClock),
    Postgres(Box<Database>),
    Redis {
        url: String,
        namespace: String,
        shift: ClockShift,
    },
}

impl Heap {
    async fn all() -> [Self; 4] {
        let clock = ManualClock::new();
        let memory = MemoryDlqHeap::new().with_clock(clock.clock());
        [
            Self::Memory(memory, clock),
            Self::Sqlite(Folder::new(), ManualClock::new()),
            Self::Postgres(Box::new(Database::create().await)),
            Self::Redis {
                url: test_servers::url(Kind::Redis).unwrap_or_else(|error| panic!("{error}")),
                namespace: EventId::new().to_string(),
                shift: ClockShift::default(),
            },
        ]
    }
}

#[async_trait]
impl HeapFixture for Heap {
    async fn handle(&self) -> Arc<dyn DlqHeap> {
        match self {
            Self::Memory(heap, _) => Arc::new(heap.clone()),
            Self::Sqlite(folder, clock) => {
                let heap = SqliteDlqHeap::migrate(folder.path().join("heap.db")).await;
                Arc::new(heap.expect("opened").with_clock(clock.clock()))
            }
            Self::Postgres(database) => {
                let heap = PostgresDlqHeap::migrate(database.pool()).await;
                Arc::new(heap.expect("opened"))
            }
            Self::Redis {
                url,
                namespace,
                shift,
            } => {
                let server = Server::from_url(url).expect("a URL");
                let heap = RedisDlqHeap::open(RedisConfig::new(server).namespace(namespace)).await;
                Arc::new(heap.expect("opened").with_clock_shift(shift.clone()))
            }
        }
    }

    async fn neighbour(&self) -> Arc<dyn DlqHeap> {
        unreachable!("a script has one heap")
    }

    async fn elapse(&self, time: Duration) {
        match self {
            Self::Memory(_, clock) | Self::Sqlite(_, clock) => clock.advance(time),
            Self::Postgres(database) => database.elapse(time).await,
            Self::Redis { shift, .. } => shift.advance(time),
        }
    }

    async fn plant(&self, entry: DlqEntry) {
        unreachable!("nothing is planted: {entry:?}")
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        if let Self::Redis { url, namespace, .. } = self {
            let names = ["counts", "turns", "first", "details", "aside"];
            let keys = names.map(|name| format!("outbox-dlq:{{{namespace}}}:{name}"));
            let client = redis::Client::open(&**url).expect("a URL");
            let mut connection = client.get_connection().expect("connected");
            let unlinked = redis::cmd("UNLINK").arg(&keys).exec(&mut connection);
            unlinked.expect("deleted");
        }
    }
}

/// A script with one right answer to each call. It plants no entry. Its leases have no small limit,
/// because each heap may choose which entries it leases.
fn script(seed: u64) -> Script {
    let mut script = Script::random(seed, true);
    script.planted.clear();
    for step in &mut script.steps {
        if let Step::Call(_, Call::Lease { limit, .. }) = step {
            *limit = 100;
        }
    }
    script
}

#[tokio::test]
async fn the_same_script_on_all_heaps_gives_the_same_answers() {
    let heaps = Heap::all().await;
    for seed in seeds(SCRIPTS) {
        let script = script(seed);
        let [memory, others @ ..] = &heaps;
        let expected = script.play(memory).await;
        assert!(expected.is_ok(), "{expected:?} in\n{script}");
        for heap in others {
            assert_eq!(script.play(heap).await, expected, "seed {seed}:\n{script}");
        }
    }
}
