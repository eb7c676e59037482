//! What the server or the application does to the table, and what the transport answers.

mod support;

use outbox_conformance::{TcpWire, Wire};
use outbox_core::PublishErrorKind::{Misconfigured, Permanent, Rejected, Unavailable};
use outbox_core::{Event, EventId, PublishError, Transport};
use outbox_transport_postgres::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use outbox_transport_postgres::sqlx::{self, AssertSqlSafe, Executor, PgPool, Row};
use outbox_transport_postgres::{PostgresTransport, PostgresTransportConfig, Schema};
use std::time::Duration;
use support::{kinds, publish, text};
use test_servers::postgres::Database;
use test_servers::{Kind, Server, search_path};

const TABLE: &str = "outbox.outbox_arrived";

async fn database() -> Database {
    let database = Database::create().await;
    database
        .execute(&PostgresTransport::script(&Schema::default()))
        .await;
    database
}

fn transport(pool: PgPool) -> PostgresTransport {
    let config = PostgresTransportConfig::new(pool).call_timeout(Duration::from_secs(5));
    PostgresTransport::open(config).expect("opened")
}

fn events(count: usize) -> Vec<Event> {
    (0..count)
        .map(|n| Event::new("order.placed", n.to_string()))
        .collect()
}

fn poison() -> Event {
    Event::new("poison", "x")
}

async fn arrived(database: &Database) -> Vec<EventId> {
    let pool = database.pool_of(1);
    let rows = pool
        .fetch_all("SELECT id::text FROM outbox.outbox_arrived ORDER BY seq")
        .await;
    let id = |row: &sqlx::postgres::PgRow| row.get::<String, _>(0).parse().expect("an id");
    rows.expect("read").iter().map(id).collect()
}

/// A table that refuses events of the type `poison`, and counts the statements in a sequence, which a
/// failed statement does not set back.
async fn picky() -> Database {
    let database = database().await;
    database
        .execute(
            "ALTER TABLE outbox.outbox_arrived ADD CONSTRAINT no_poison CHECK (event_type <> 'poison');
             CREATE SEQUENCE public.statements;
             CREATE FUNCTION public.counted() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM nextval('public.statements'); RETURN NULL; END $$;
             CREATE TRIGGER counted BEFORE INSERT ON outbox.outbox_arrived
                 FOR EACH STATEMENT EXECUTE FUNCTION public.counted()",
        )
        .await;
    database
}

async fn statements(database: &Database) -> i64 {
    let pool = database.pool_of(1);
    let last = pool
        .fetch_one("SELECT nextval('public.statements') - 1")
        .await
        .expect("read")
        .get(0);
    pool.execute("SELECT setval('public.statements', 1, false)")
        .await
        .expect("reset");
    last
}

#[tokio::test]
async fn a_refused_row_is_found_in_twenty_statements_and_its_neighbours_arrive() {
    let database = picky().await;
    let transport = transport(database.pool());
    for place in [0, 1, 499, 500, 731, 999] {
        database.execute("TRUNCATE outbox.outbox_arrived").await;
        let mut call = events(1000);
        call[place] = poison();
        let answers = transport.publish(&call).await;
        let refused = answers[place].as_ref().expect_err("refused");
        assert_eq!(refused.kind(), Rejected);
        assert_eq!(refused.destination(), Some(TABLE));
        assert!(text(refused).contains("no_poison"), "{}", text(refused));
        assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1);
        let others: Vec<EventId> = call
            .iter()
            .filter(|e| e.event_type != "poison")
            .map(|e| e.id)
            .collect();
        assert_eq!(arrived(&database).await, others);
        let count = statements(&database).await;
        assert!(count <= 21, "{count} statements for row {place}");
    }
}

#[tokio::test]
async fn each_of_several_refused_rows_is_found() {
    let database = picky().await;
    let transport = transport(database.pool());
    for places in [
        &[3, 4][..],
        &[0, 99],
        &[10, 50, 90],
        &(0..100).collect::<Vec<_>>(),
    ] {
        database.execute("TRUNCATE outbox.outbox_arrived").await;
        let mut call = events(100);
        for &place in places {
            call[place] = poison();
        }
        let found = kinds(&transport.publish(&call).await);
        for (place, kind) in found.iter().enumerate() {
            let expected = places.contains(&place).then_some(Rejected);
            assert_eq!(*kind, expected, "row {place} of {places:?}");
        }
        assert_eq!(arrived(&database).await.len(), 100 - places.len());
    }
}

/// T7, for each place of a refused row among rows of two keys.
#[tokio::test]
async fn no_event_of_a_key_arrives_after_a_refused_one() {
    let database = picky().await;
    let transport = transport(database.pool());
    for place in 0..12 {
        database.execute("TRUNCATE outbox.outbox_arrived").await;
        let key = |n: usize| ["a", "b", "c"][n % 3];
        let mut call = events(12);
        call[place] = poison();
        let call: Vec<Event> = call
            .into_iter()
            .enumerate()
            .map(|(n, event)| event.ordering_key(key(n)))
            .collect();
        let answers = transport.publish(&call).await;
        let is_taken = |n: &usize| *n < place || key(*n) != key(place);
        let taken: Vec<usize> = (0..12).filter(is_taken).collect();
        let ok: Vec<usize> = (0..12).filter(|&n| answers[n].is_ok()).collect();
        assert_eq!(ok, taken);
        let ids: Vec<EventId> = taken.iter().map(|&n| call[n].id).collect();
        assert_eq!(arrived(&database).await, ids);
        assert_eq!(kinds(&answers)[place], Some(Rejected));
    }
}

#[tokio::test]
async fn a_trigger_or_a_foreign_key_of_the_application_refuses_its_row_alone() {
    let database = database().await;
    let transport = transport(database.pool());
    for (change, undo) in [
        (
            "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF new.event_type = 'poison' THEN RAISE 'no poison here'; END IF; RETURN new; END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON outbox.outbox_arrived
                 FOR EACH ROW EXECUTE FUNCTION public.refuse()",
            "DROP TRIGGER refuse ON outbox.outbox_arrived",
        ),
        (
            "CREATE TABLE public.types (name text PRIMARY KEY);
             INSERT INTO public.types VALUES ('order.placed');
             ALTER TABLE outbox.outbox_arrived ADD CONSTRAINT known FOREIGN KEY (event_type)
                 REFERENCES public.types",
            "ALTER TABLE outbox.outbox_arrived DROP CONSTRAINT known",
        ),
        (
            "CREATE UNIQUE INDEX one_poison ON outbox.outbox_arrived (event_type)
                 WHERE event_type = 'poison';
             INSERT INTO outbox.outbox_arrived (id, created_at, event_type, content_type, payload)
                 VALUES (gen_random_uuid(), now(), 'poison', '', '')",
            "DROP INDEX outbox.one_poison",
        ),
    ] {
        database.execute(change).await;
        let mut call = events(10);
        call[4] = poison();
        let answers = kinds(&transport.publish(&call).await);
        assert_eq!(answers.iter().flatten().count(), 1, "{change}: {answers:?}");
        assert_eq!(answers[4], Some(Rejected), "{change}");
        database.execute(undo).await;
        database.execute("TRUNCATE outbox.outbox_arrived").await;
    }
}

#[tokio::test]
async fn an_event_that_no_row_can_have_is_permanent_and_costs_no_statement() {
    let database = picky().await;
    let transport = transport(database.pool());
    let event = || Event::new("a", "x");
    let call = vec![
        event(),
        event().ordering_key("a\0b"),
        event().header("name", "a\0b"),
        event().header("a\0b", "value"),
        event().content_type("a\0b"),
        Event::new("a\0b", "x"),
        Event::new("", "x"),
        event(),
    ];
    let answers = transport.publish(&call).await;
    let mut expected = vec![Some(Permanent); 8];
    (expected[0], expected[7]) = (None, None);
    assert_eq!(kinds(&answers), expected);
    let shown = text(answers[2].as_ref().expect_err("refused"));
    assert!(
        shown.contains("header value is \"a\\0b\", but must be"),
        "{shown}"
    );
    assert_eq!(statements(&database).await, 1);
}

/// An index of the application has a limit that only the server knows.
#[tokio::test]
async fn a_value_that_an_index_of_the_application_cannot_have_is_permanent() {
    let database = database().await;
    database
        .execute("CREATE INDEX ON outbox.outbox_arrived (payload)")
        .await;
    let transport = transport(database.pool());
    let mut random = Vec::new();
    while random.len() < 8000 {
        random.extend_from_slice(EventId::new().as_uuid().as_bytes());
    }
    let mut call = events(5);
    call[2] = Event::new(
        "long",
        random
            .iter()
            .map(|byte| byte.wrapping_mul(151))
            .collect::<Vec<_>>(),
    );
    let answers = kinds(&transport.publish(&call).await);
    assert_eq!(answers, [None, None, Some(Permanent), None, None]);
}

/// The server answers the statement, and then fails the commit.
#[tokio::test]
async fn an_event_whose_commit_fails_is_not_ok() {
    let database = database().await;
    database
        .execute(
            "CREATE FUNCTION public.late() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE 'not at the commit'; END $$;
             CREATE CONSTRAINT TRIGGER late AFTER INSERT ON outbox.outbox_arrived
                 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.late()",
        )
        .await;
    let transport = transport(database.pool());
    let answers = transport.publish(&events(3)).await;
    assert_eq!(kinds(&answers), [Some(Rejected); 3]);
    assert_eq!(arrived(&database).await, []);
}

#[tokio::test]
async fn what_a_person_changed_about_the_table_is_misconfigured_until_it_is_repaired() {
    let database = database().await;
    let transport = transport(database.pool());
    publish(&transport, &events(100)).await;
    for (change, repair, named) in [
        (
            "ALTER TABLE outbox.outbox_arrived ADD tenant text; UPDATE outbox.outbox_arrived SET tenant = '';
             ALTER TABLE outbox.outbox_arrived ALTER tenant SET NOT NULL",
            "ALTER TABLE outbox.outbox_arrived DROP tenant",
            "tenant",
        ),
        (
            "SELECT setval('outbox.outbox_arrived_seq_seq', 1, false)",
            "SELECT setval('outbox.outbox_arrived_seq_seq', max(seq)) FROM outbox.outbox_arrived",
            "was set back",
        ),
        (
            "ALTER TABLE outbox.outbox_arrived RENAME headers TO head",
            "ALTER TABLE outbox.outbox_arrived RENAME head TO headers",
            "headers",
        ),
        (
            "ALTER TABLE outbox.outbox_arrived DROP CONSTRAINT outbox_arrived_pkey",
            "ALTER TABLE outbox.outbox_arrived ADD PRIMARY KEY (id)",
            "ON CONFLICT",
        ),
        (
            "ALTER SCHEMA outbox RENAME TO elsewhere",
            "ALTER SCHEMA elsewhere RENAME TO outbox",
            "outbox",
        ),
    ] {
        let call = events(20);
        database.execute(change).await;
        let answers = transport.publish(&call).await;
        assert_eq!(kinds(&answers), [Some(Misconfigured); 20], "{change}: {answers:?}");
        let error = answers[0].as_ref().expect_err("refused");
        assert_eq!(error.destination(), Some(TABLE));
        assert!(text(error).contains(named), "{change}: {}", text(error));
        database.execute(repair).await;
        publish(&transport, &call).await;
        assert_eq!(arrived(&database).await.split_off(100), call.iter().map(|e| e.id).collect::<Vec<_>>());
        database.execute("DELETE FROM outbox.outbox_arrived WHERE seq > 100").await;
        database.execute("ALTER TABLE outbox.outbox_arrived ALTER seq RESTART 101").await;
    }
}

async fn refused(options: PgConnectOptions) -> PublishError {
    let pool = PgPoolOptions::new().connect_lazy_with(options);
    transport(pool)
        .publish(&events(1))
        .await
        .remove(0)
        .expect_err("refused")
}

#[tokio::test]
async fn a_login_or_a_database_that_is_not_there_is_misconfigured_for_the_whole_transport() {
    let database = database().await;
    for (options, named) in [
        (database.options().username("unknown_user"), "unknown_user"),
        (database.options().database("nowhere"), "nowhere"),
    ] {
        let error = refused(options).await;
        assert_eq!(
            (error.kind(), error.destination()),
            (Misconfigured, None),
            "{}",
            text(&error)
        );
        assert!(text(&error).contains(named), "{}", text(&error));
    }
}

#[tokio::test]
async fn a_tls_url_without_tls_is_misconfigured() {
    use outbox_transport_postgres::sqlx::postgres::PgSslMode;
    let database = database().await;
    let error = refused(database.options().ssl_mode(PgSslMode::VerifyFull)).await;
    assert_eq!(error.kind(), Misconfigured, "{}", text(&error));
    assert!(text(&error).contains("TLS"), "{}", text(&error));
}

#[tokio::test]
async fn a_statement_that_the_server_cancels_is_unavailable_and_arrives_later() {
    let database = database().await;
    let slow = database
        .options()
        .options([("statement_timeout", "50"), ("lock_timeout", "20")]);
    let transport = transport(PgPoolOptions::new().connect_lazy_with(slow));
    publish(&transport, &events(1)).await;
    let call = events(5);
    let lock = database.pool_of(1);
    let mut locked = lock.acquire().await.expect("connected");
    locked
        .execute("BEGIN; LOCK TABLE outbox.outbox_arrived")
        .await
        .expect("locked");
    let answers = transport.publish(&call).await;
    assert_eq!(kinds(&answers), [Some(Unavailable); 5]);
    locked.execute("COMMIT").await.expect("ended");
    publish(&transport, &call).await;
    assert_eq!(arrived(&database).await.len(), 6);
}

/// The statement of a call that timed out ends after its events were published again, and after a later
/// event of their key.
#[tokio::test]
async fn a_statement_that_ends_late_does_not_insert_twice() {
    let database = database().await;
    let config =
        PostgresTransportConfig::new(database.pool()).call_timeout(Duration::from_millis(300));
    let hasty = PostgresTransport::open(config).expect("opened");
    let call: Vec<Event> = events(5)
        .into_iter()
        .map(|event| event.ordering_key("k"))
        .collect();
    let pool = database.pool_of(1);
    let mut locked = pool.acquire().await.expect("connected");
    locked
        .execute("BEGIN; LOCK TABLE outbox.outbox_arrived")
        .await
        .expect("locked");
    assert_eq!(kinds(&hasty.publish(&call).await), [Some(Unavailable); 5]);
    locked.execute("COMMIT").await.expect("ended");
    let patient = transport(database.pool());
    publish(&patient, &call).await;
    publish(&patient, &events(1)).await;
    assert_eq!(
        arrived(&database).await[..5],
        call.iter().map(|e| e.id).collect::<Vec<_>>()
    );
    assert_eq!(arrived(&database).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_calls_leave_no_transaction_open() {
    let database = database().await;
    let transport = transport(database.pool_of(1));
    for wait in 0..30 {
        let call = events(200);
        let dropped =
            tokio::time::timeout(Duration::from_micros(300 * wait), transport.publish(&call));
        drop(dropped.await);
        publish(&transport, &call).await;
    }
    let open = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    let row = database.pool_of(1).fetch_one(open).await.expect("read");
    assert_eq!(row.get::<i64, _>(0), 0);
    assert_eq!(arrived(&database).await.len(), 6000);
}

/// The database is dropped and made again from a copy, as a restored dump.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_is_published_to_by_the_same_handle() {
    let database = database().await;
    let transport = transport(database.pool());
    let before = events(50);
    publish(&transport, &before).await;
    database.back_up().await;
    let after = events(50);
    publish(&transport, &after).await;
    database.restore().await;
    publish(&transport, &before).await;
    publish(&transport, &after).await;
    let ids: Vec<EventId> = before.iter().chain(&after).map(|event| event.id).collect();
    assert_eq!(arrived(&database).await, ids);
}

/// A proxy leads to a standby for a while; connections to it stay open.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_unavailable_and_the_primary_is_used_as_soon_as_it_is_back() {
    let primary = Server::start(Kind::Postgres, &search_path()).expect("a server");
    let database = Database::create_on(primary.url()).await;
    let wire = TcpWire::to(database.address()).expect("a wire");
    // With more connections, one that the check has used could still lead to the standby.
    let transport = transport(database.pool_over(wire.port(), 1));
    PostgresTransport::migrate(database.pool())
        .await
        .expect("migrated");
    publish(&transport, &events(5)).await;
    let standby = primary.start_standby(&search_path()).expect("a standby");
    let port = standby.url().rsplit_once(':').map(|(_, rest)| {
        rest.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    });
    let port: u16 = port.and_then(|port| port.parse().ok()).expect("a port");
    wire.redirect_to(([127, 0, 0, 1], port));
    wire.cut_all();
    let call = events(5);
    let mut answers = transport.publish(&call).await;
    if answers
        .iter()
        .all(|answer| !text(answer.as_ref().expect_err("refused")).contains("25006"))
    {
        answers = transport.publish(&call).await;
    }
    assert_eq!(kinds(&answers), [Some(Unavailable); 5]);
    let error = answers[0].as_ref().expect_err("refused");
    assert!(text(error).contains("standby"), "{}", text(error));
    let check = transport.check().await;
    assert_eq!(
        check
            .problems
            .iter()
            .map(PublishError::kind)
            .collect::<Vec<_>>(),
        [Unavailable]
    );
    let answers = transport.publish(&call).await;
    assert_eq!(kinds(&answers), [Some(Unavailable); 5]);
    wire.redirect_to(([127, 0, 0, 1], database.address().1));
    publish(&transport, &call).await;
    assert_eq!(arrived(&database).await.len(), 10);
}

/// Each call may reach another connection of the server, which has prepared statements of others.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_of_pgbouncer_in_transaction_mode_publish_all_in_order() {
    const CALLS: usize = 20;
    let url = test_servers::url(Kind::Postgres).unwrap_or_else(|error| panic!("{error}"));
    let database = Database::create_on(&url).await;
    let bouncer = Server::start_pgbouncer(&search_path(), &url);
    let bouncer = bouncer.unwrap_or_else(|error| panic!("{error}"));
    let mut clients = Vec::new();
    for client in 0..4 {
        let options = database.options_through(bouncer.url());
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .connect_lazy_with(options);
        let config = PostgresTransportConfig::new(pool).through_pgbouncer();
        let transport = PostgresTransport::migrate(config).await.expect("migrated");
        clients.push(tokio::spawn(async move {
            let mut sent = Vec::new();
            for _ in 0..CALLS {
                let key = client.to_string();
                let call: Vec<Event> = events(10)
                    .into_iter()
                    .map(|event| event.ordering_key(&*key))
                    .collect();
                publish(&transport, &call).await;
                sent.extend(call.iter().map(|event| event.id));
            }
            let check = transport.check().await;
            assert!(check.problems.is_empty(), "{check:?}");
            sent
        }));
    }
    for (client, sent) in clients.into_iter().enumerate() {
        let sent = sent.await.expect("published");
        let ids = AssertSqlSafe(format!(
            "SELECT id::text FROM outbox.outbox_arrived WHERE ordering_key = '{client}' ORDER BY seq"
        ));
        let rows = database.pool_of(1).fetch_all(ids).await.expect("read");
        let ids: Vec<EventId> = rows
            .iter()
            .map(|row| row.get::<String, _>(0).parse().expect("an id"))
            .collect();
        assert_eq!(ids, sent);
    }
}

#[tokio::test]
async fn pgbouncer_that_was_not_named_is_an_error_that_names_the_setting() {
    let url = test_servers::url(Kind::Postgres).unwrap_or_else(|error| panic!("{error}"));
    let database = Database::create_on(&url).await;
    database
        .execute(&PostgresTransport::script(&Schema::default()))
        .await;
    let bouncer =
        Server::start_pgbouncer(&search_path(), &url).unwrap_or_else(|error| panic!("{error}"));
    let mut named = false;
    for _ in 0..40 {
        let options = database.options_through(bouncer.url());
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect_lazy_with(options);
        let answer = transport(pool).publish(&events(1)).await.remove(0);
        if let Err(error) = answer {
            assert!(
                [Misconfigured, Unavailable].contains(&error.kind()),
                "{}",
                text(&error)
            );
            named |= text(&error).contains("through_pgbouncer");
        }
    }
    assert!(named, "no prepared statement of another client was met");
}

/// Two relays publish the same events in opposite orders at the same time, so their statements wait for each
/// other. The server ends one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deadlock_is_unavailable_and_the_events_arrive_once() {
    let database = database().await;
    let (one, other) = (transport(database.pool()), transport(database.pool()));
    let mut sent = 0;
    for _round in 0..20 {
        let call = events(500);
        let reversed: Vec<Event> = call.iter().rev().cloned().collect();
        let (first, second) = tokio::join!(one.publish(&call), other.publish(&reversed));
        for kind in [kinds(&first), kinds(&second)].iter().flatten().flatten() {
            assert_eq!(*kind, Unavailable);
        }
        publish(&one, &call).await;
        sent += call.len();
        assert_eq!(arrived(&database).await.len(), sent);
    }
}
