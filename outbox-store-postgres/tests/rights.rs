//! The grants of docs/postgres-schema.md: each role has enough, and none that it does not need.

mod support;

use outbox_conformance::store::StoreFixture;
use outbox_core::{
    ClaimLimit, DeadLetterFilter, DeadLetters, DlqEntry, ErrorKind, Event, OutboxError,
    OutboxStorage, Outcome, RelayId, RelayProgram, RelayRegistry, RelayReport,
};
use outbox_store_postgres::sqlx::postgres::PgPoolOptions;
use outbox_store_postgres::sqlx::{ConnectOptions, Executor, PgConnection, PgPool};
use outbox_store_postgres::{PostgresStore, append};
use std::time::{Duration, SystemTime};
use support::{Own, each};

const LEASE: Duration = Duration::from_secs(30);
const DOCUMENT: &str = include_str!("../docs/postgres-schema.md");

/// A store, and the two roles of the document.
struct Cast {
    own: Own,
    producer: String,
    relay: String,
    viewer: String,
}

impl Cast {
    async fn play() -> Self {
        let own = Own::in_schema("outbox");
        let role = |name| format!("{}_{name}", own.name());
        let [producer, relay, viewer] = ["producer", "relay", "viewer"].map(role);
        for role in [&producer, &relay, &viewer] {
            own.execute(&format!("CREATE ROLE {role} LOGIN")).await;
        }
        let cast = Self {
            own,
            producer,
            relay,
            viewer,
        };
        for grant in grants() {
            cast.own.execute(&cast.renamed(&grant)).await;
        }
        cast
    }

    /// The statement with the roles of this test, because roles are shared by all databases of a server.
    fn renamed(&self, grant: &str) -> String {
        grant
            .replace("TO producer", &format!("TO {}", self.producer))
            .replace("TO relay", &format!("TO {}", self.relay))
            .replace("TO viewer", &format!("TO {}", self.viewer))
    }

    async fn producer(&self) -> PgConnection {
        let options = self.own.options().username(&self.producer);
        options.connect().await.expect("connected")
    }

    fn pool(&self) -> PgPool {
        self.pool_of(&self.relay)
    }

    fn pool_of(&self, role: &str) -> PgPool {
        let options = self.own.options().username(role);
        PgPoolOptions::new()
            .max_connections(4)
            .connect_lazy_with(options)
    }

    async fn close(self) {
        for role in [&self.producer, &self.relay, &self.viewer] {
            self.own
                .execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
                .await;
        }
    }
}

/// The GRANT statements of the document.
fn grants() -> Vec<String> {
    let blocks = DOCUMENT.split("```sql\n").skip(1);
    let sql: String = blocks
        .filter_map(|block| block.split("```").next())
        .collect();
    let statements = sql.split(';').map(str::trim);
    // The test of the heap checks the privileges of its table.
    let grants = statements.filter(|statement| {
        statement.starts_with("GRANT") && !statement.contains("outbox_dlq_heap")
    });
    grants.map(str::to_owned).collect()
}

/// The rights of the relay's role on tables, one by one: `SELECT`, `outbox.outbox_events`.
fn table_rights() -> Vec<(String, String)> {
    let mut rights = Vec::new();
    for grant in grants().iter().filter(|grant| grant.ends_with("TO relay")) {
        let grant = grant
            .trim_start_matches("GRANT ")
            .trim_end_matches(" TO relay");
        let (names, table) = grant.split_once(" ON ").expect("a grant");
        let names = names.split(", ").filter(|_| table.starts_with("outbox."));
        rights.extend(names.map(|name| (name.to_owned(), table.to_owned())));
    }
    rights
}

async fn refused(connection: &mut PgConnection, sql: &'static str) {
    let error = connection.execute(sql).await.expect_err(sql);
    let error = error.as_database_error().expect("the server's").code();
    assert!(
        matches!(error.as_deref(), Some("42501" | "428C9")),
        "{sql}: {error:?}"
    );
}

#[tokio::test]
async fn a_producer_appends_and_does_nothing_else() {
    let cast = Cast::play().await;
    let mut producer = cast.producer().await;
    let event = Event::new("right", "")
        .ordering_key("k")
        .idempotency_token("once");
    let append_one = append(&mut producer, std::slice::from_ref(&event));
    append_one.await.expect("appended");
    let insert = "INSERT INTO outbox.outbox_events (event_type, payload, idempotency_token)
                  VALUES ('right', '', 'twice')";
    producer.execute(insert).await.expect("inserted");
    let error = producer.execute(insert).await.expect_err("a taken token");
    assert!(
        error
            .as_database_error()
            .expect("the server's")
            .is_unique_violation()
    );
    // A sleeping worker is notified.
    cast.own
        .execute("SELECT setval('outbox.outbox_alarm', 100000000000)")
        .await;
    let plain = "INSERT INTO outbox.outbox_events (event_type, payload) VALUES ('right', '')";
    producer.execute(plain).await.expect("inserted");

    for sql in [
        "SELECT FROM outbox.outbox_events",
        "SELECT FROM outbox.outbox_log",
        "INSERT INTO outbox.outbox_events (event_type, payload) VALUES ('a', '') RETURNING seq",
        "INSERT INTO outbox.outbox_events (event_type, payload, seq) OVERRIDING SYSTEM VALUE
         VALUES ('a', '', 1)",
        "INSERT INTO outbox.outbox_events (event_type, payload, xid) VALUES ('a', '', '7')",
        "INSERT INTO outbox.outbox_events (event_type, payload, replays) VALUES ('a', '', 1)",
        "UPDATE outbox.outbox_events SET payload = ''",
        "DELETE FROM outbox.outbox_events",
        "DELETE FROM outbox.outbox_log",
        "SELECT FROM outbox.outbox_tokens",
        "INSERT INTO outbox.outbox_tokens VALUES ('forged', gen_random_uuid())",
        "UPDATE outbox.outbox_lanes SET position = 0",
        "DELETE FROM outbox.outbox_dead_letters",
        "SELECT setval('outbox.outbox_alarm', 1)",
        "CREATE TEMPORARY TABLE mine AS SELECT gen_random_uuid() AS id, ''::text AS idempotency_token;
         CREATE TRIGGER forge AFTER INSERT ON mine
         FOR EACH ROW EXECUTE FUNCTION outbox.outbox_take_token()",
    ] {
        refused(&mut producer, sql).await;
    }
    cast.close().await;
}

#[tokio::test]
async fn a_viewer_sees_the_store_and_changes_nothing() {
    let cast = Cast::play().await;
    cast.own.append(&[Event::new("seen", "")]).await;
    let owner = PostgresStore::open(cast.own.pool()).await.expect("opened");
    let program = RelayProgram::new("host", 1, "1");
    let report = RelayReport::new(RelayId::new(), program);
    owner.report(&report).await.expect("reported");
    let viewer = PostgresStore::open(cast.pool_of(&cast.viewer)).await;
    let viewer = viewer.expect("opened");
    assert_eq!(viewer.backlog().await.expect("counted").pending, 1);
    let overview = viewer.overview(10).await.expect("seen");
    assert_eq!(overview.relays[0].id, report.id);
    assert_eq!(overview.waiting.len(), 1);
    let all = DeadLetterFilter::all();
    assert_eq!(viewer.list(&all, None, 10).await.expect("listed"), []);
    assert_eq!(viewer.statistics(&all, 10).await.expect("grouped"), []);
    for error in [
        viewer.report(&report).await.expect_err("refused"),
        viewer.withdraw(report.id).await.expect_err("refused"),
        viewer.purge(&all, 10).await.expect_err("refused"),
        viewer
            .claim(ClaimLimit::events(1), LEASE)
            .await
            .expect_err("refused"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    drop((owner, viewer));
    cast.close().await;
}

/// Empties the store.
const TIDY: &str = "
TRUNCATE outbox.outbox_events, outbox.outbox_tokens, outbox.outbox_retries,
         outbox.outbox_dead_letters;
SELECT setval('outbox.outbox_alarm', 1);
UPDATE outbox.outbox_lanes
SET token = NULL, leased_until = NULL, reads = 0, held = NULL, seen = '1:1:', window_end = NULL,
    seen_xid = '0', window_xid = NULL, position = 0, top = 0, turn = pg_current_xact_id()";

/// Everything that a relay and an operator do. The superuser prepares changes by others.
async fn do_everything(cast: &Cast, foreign: bool) -> Result<(), OutboxError> {
    let old = "UPDATE outbox.outbox_tokens SET created_at = '2000-01-01'";
    cast.own.execute(old).await;
    if foreign {
        cast.own.append(&[Event::new("foreign", "")]).await;
        let other = "UPDATE outbox.outbox_origin SET system_identifier = 1;
                     DELETE FROM outbox.outbox_lanes WHERE lane = 0;
                     SELECT setval('outbox.outbox_events_seq_seq', 1)";
        cast.own.execute(other).await;
    }
    let outbox = PostgresStore::open(cast.pool()).await?;
    let events: Vec<Event> = ["published", "retried", "dead", "found", "lost"]
        .iter()
        .map(|name| Event::new(*name, "").idempotency_token(format!("{name} {foreign}")))
        .collect();
    cast.own.append(&events).await;
    let claim = outbox.claim(ClaimLimit::events(10), LEASE).await?;
    let mut settlements = each(&claim, &Outcome::Published);
    for (event, settlement) in claim.events.iter().zip(&mut settlements) {
        settlement.outcome = match &*event.event.event_type {
            "retried" => Outcome::Retry {
                delay: Duration::ZERO,
                error: "refused".into(),
            },
            "dead" => Outcome::Dead {
                reason: "never".into(),
            },
            "found" => Outcome::Released {
                delay: Duration::ZERO,
            },
            _ => Outcome::Published,
        };
    }
    outbox.settle(claim.token, &settlements).await?;
    let again = outbox.claim(ClaimLimit::events(10), LEASE).await?;
    outbox
        .settle(again.token, &each(&again, &Outcome::Published))
        .await?;
    let unread = Event::new("unread", "");
    cast.own.append(std::slice::from_ref(&unread)).await;
    let now = SystemTime::now();
    let entries = [DlqEntry::new(unread.id, 1, now, now)];
    outbox.quarantine_events(&entries).await?;
    outbox.replay(&DeadLetterFilter::all(), 10).await?;
    // An event of a lost claim is tried alone, becomes a dead letter, and is purged.
    outbox.claim(ClaimLimit::events(10), LEASE).await?;
    cast.own.elapse(2 * LEASE).await;
    loop {
        let alone = outbox.claim(ClaimLimit::events(10), LEASE).await?;
        if alone.events.is_empty() {
            break;
        }
        let reason = "never".into();
        let dead = each(&alone, &Outcome::Dead { reason });
        outbox.settle(alone.token, &dead).await?;
    }
    outbox.purge(&DeadLetterFilter::all(), 10).await?;
    while outbox.clean_up(100).await? > 0 {}
    outbox.statistics(&DeadLetterFilter::all(), 10).await?;
    outbox.backlog().await?;
    // The second report removes the first relay, which was silent for two days.
    for _ in 0..2 {
        let report = RelayReport::new(RelayId::new(), RelayProgram::new("host", 1, "1"));
        outbox.report(&report).await?;
        outbox.report(&report).await?;
        cast.own.elapse(2 * RelayReport::SILENCE).await;
    }
    outbox.overview(10).await?;
    outbox.withdraw(RelayId::new()).await?;
    // The worker sets the alarm once it listens.
    let asleep = "SELECT FROM outbox.outbox_alarm WHERE last_value > 1";
    let mut connection = cast.own.connect().await;
    while connection
        .fetch_optional(asleep)
        .await
        .expect("read")
        .is_none()
    {
        outbox.wait_for_work(Duration::from_millis(100)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn append_before_a_migration_says_to_migrate() {
    let own = Own::empty_on(
        &test_servers::url(test_servers::Kind::Postgres).unwrap(),
        "outbox",
    );
    let mut connection = own.connect().await;
    for schema_exists in [false, true] {
        if schema_exists {
            own.execute("CREATE SCHEMA outbox").await;
        }
        let error = append(&mut connection, &[Event::new("early", "")])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(
            error.to_string().contains("run `outbox migrate`"),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_needs_each_of_its_rights_and_no_other() {
    let cast = Cast::play().await;
    for foreign in [false, true] {
        do_everything(&cast, foreign).await.expect("all is granted");
    }
    cast.own
        .execute("TRUNCATE outbox.outbox_events, outbox.outbox_tokens")
        .await;
    let rights = table_rights();
    assert!(rights.len() > 20, "{rights:?}");
    for (right, table) in rights {
        let revoke = format!("REVOKE {right} ON {table} FROM {}", cast.relay);
        cast.own.execute(&revoke).await;
        let error = do_everything(&cast, true).await.expect_err(&revoke);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{revoke}: {error}");
        let name = table.trim_start_matches("outbox.");
        assert!(error.to_string().contains(name), "{revoke}: {error}");
        let grant = format!("GRANT {right} ON {table} TO {}", cast.relay);
        cast.own.execute(&grant).await;
        cast.own.execute(TIDY).await;
    }
    cast.close().await;
}
