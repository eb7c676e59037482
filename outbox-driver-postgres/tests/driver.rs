//! Calls, transactions and values against a real server.

use outbox_conformance::{TcpWire, Wire, at_each_point};
use outbox_core::{ErrorKind, OutboxError};
use outbox_driver_postgres::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use outbox_driver_postgres::sqlx::{
    self, ConnectOptions, Connection, Executor, PgConnection, PgPool, Row,
};
use outbox_driver_postgres::{Driver, PgTime, PgUuid, PostgresConfig, interval, postgres_error};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, SystemTime};
use test_servers::postgres::Database;
use test_servers::{Kind, Server, search_path};
use uuid::Uuid;

async fn with_table(database: &Database) -> Driver {
    database.execute("CREATE TABLE t (x bigint UNIQUE)").await;
    // With one connection, the next call sees everything that a call leaves on it.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_with(database.options())
        .await
        .expect("connected");
    Driver::new(pool)
}

async fn insert(connection: &mut PgConnection, x: i64) -> Result<(), OutboxError> {
    sqlx::query("INSERT INTO t VALUES ($1)")
        .bind(x)
        .execute(connection)
        .await
        .map(drop)
        .map_err(postgres_error("insert"))
}

/// The rows that another connection sees.
async fn rows(database: &Database) -> Vec<i64> {
    let pool = database.pool();
    let rows = sqlx::query_scalar("SELECT x FROM t ORDER BY x")
        .fetch_all(&pool)
        .await
        .expect("read");
    pool.close().await;
    rows
}

#[tokio::test]
async fn a_transaction_is_whole_or_nothing() {
    let database = Database::create().await;
    let driver = with_table(&database).await;
    let both = async |connection: &mut PgConnection| {
        insert(connection, 1).await?;
        insert(connection, 2).await
    };
    driver.transaction("both", both).await.expect("committed");
    let half = async |connection: &mut PgConnection| {
        insert(connection, 3).await?;
        insert(connection, 1).await
    };
    let error = driver.transaction("half", half).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Duplicate);
    assert_eq!(rows(&database).await, [1, 2]);
}

#[tokio::test]
async fn a_transaction_that_ignores_a_failed_statement_is_not_reported_as_committed() {
    let database = Database::create().await;
    let driver = with_table(&database).await;
    let ignore = async |connection: &mut PgConnection| {
        insert(connection, 1).await?;
        let _ = insert(connection, 1).await;
        Ok(())
    };
    driver.transaction("ignore", ignore).await.unwrap_err();
    assert!(rows(&database).await.is_empty());
}

#[tokio::test]
async fn a_dropped_call_leaves_no_transaction_behind() {
    let database = Database::create().await;
    let driver = with_table(&database).await;
    let mut rounds = 0..;
    at_each_point("transaction", async |point| {
        let round: i64 = rounds.next().unwrap_or_default();
        let x = 2 * round;
        let work = async |connection: &mut PgConnection| {
            insert(connection, x).await?;
            insert(connection, x + 1).await
        };
        let transaction = driver.transaction("cut", work);
        let done = point.reach(transaction).await;
        // On the only connection of the pool: in an open transaction no other connection would see it.
        let insert = sqlx::query("INSERT INTO t VALUES ($1)").bind(-1 - round);
        driver.execute("insert", insert).await.expect("inserted");
        let rows = rows(&database).await;
        assert!(rows.contains(&(-1 - round)), "dropped at {point:?}");
        assert_eq!(rows.contains(&x), rows.contains(&(x + 1)), "half of it");
        let ended = done.map(|result| result.expect("committed")).is_some();
        assert!(rows.contains(&x) || !ended, "committed and lost");
        ended
    })
    .await;
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_unavailable_and_the_next_one_works() {
    let database = Database::create().await;
    let pool = with_table(&database).await.pool().clone();
    let config = PostgresConfig::new(pool).call_timeout(Duration::from_millis(300));
    let driver = Driver::new(config);
    let sleep = sqlx::query("SELECT pg_sleep(600)");
    let error = driver.execute("sleep", sleep).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("300ms"), "{error}");
    let held = driver.pool().acquire().await.expect("another connection");
    let waiting = sqlx::query("SELECT 1");
    let error = driver.execute("wait", waiting).await.unwrap_err();
    assert!(error.to_string().contains("no connection"), "{error}");
    drop(held);
    driver
        .execute("look", sqlx::query("SELECT 1"))
        .await
        .expect("answered");
}

#[tokio::test]
async fn a_role_with_too_many_connections_is_named_as_such() {
    let database = Database::create().await;
    let role = format!("{}_limited", database.name());
    database
        .execute(&format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 1"))
        .await;
    let options = database.options().username(&role);
    let only = options.connect().await.expect("the only connection");
    let pool = PgPoolOptions::new().connect_lazy_with(options);
    let config = PostgresConfig::new(pool).call_timeout(Duration::from_millis(300));
    let driver = Driver::new(config);
    let call = driver.execute("claim", sqlx::query("SELECT 1"));
    let error = call.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let expected = format!("too many connections for role \"{role}\" (SQLSTATE 53300)");
    assert!(error.to_string().contains(&expected), "{error}");
    only.close().await.expect("closed");
    driver.pool().close().await;
    database.execute(&format!("DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_refusal_by_the_application_says_what_to_do() {
    let database = Database::create().await;
    let driver = with_table(&database).await;
    database
        .execute(
            "INSERT INTO t VALUES (7);
             CREATE TABLE orders (x bigint CONSTRAINT order_of_event REFERENCES t (x));
             INSERT INTO orders VALUES (7)",
        )
        .await;
    let delete = || driver.execute("clean_up", sqlx::query("DELETE FROM t WHERE x = 7"));
    let error = delete().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    for part in ["order_of_event", "\"orders\"", "ON DELETE CASCADE"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    database
        .execute(
            "DROP TABLE orders;
             CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN RAISE EXCEPTION ''rows are kept''; END';
             CREATE TRIGGER keep BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION keep()",
        )
        .await;
    let error = delete().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    for part in [
        "rows are kept",
        "keep()",
        "trigger or function of the application",
    ] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn a_read_that_takes_too_long_was_not_applied() {
    let database = Database::create().await;
    let config = PostgresConfig::new(database.pool()).call_timeout(Duration::from_millis(300));
    let driver = Driver::new(config);
    let sleep = || driver.execute("list", sqlx::query("SELECT pg_sleep(600)"));
    let error = sleep().await.unwrap_err().to_string();
    assert!(!error.contains("applied"), "{error}");
    let sleep = driver.execute("settle", sqlx::query("SELECT pg_sleep(600)"));
    let error = sleep.await.unwrap_err().to_string();
    assert!(error.contains("may have been applied"), "{error}");
}

#[tokio::test]
async fn a_missing_server_is_unavailable_and_no_password_is_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let nowhere = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username("me")
        .password("hidden");
    let pool = PgPoolOptions::new().connect_lazy_with(nowhere);
    let config = PostgresConfig::new(pool).call_timeout(Duration::from_millis(200));
    let driver = Driver::new(config);
    let error = driver
        .execute("look", sqlx::query("SELECT 1"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = format!("{error:?} {error}");
    assert!(!text.contains("hidden"), "{text}");
}

#[tokio::test]
async fn a_handle_works_again_after_its_connections_were_ended() {
    let database = Database::create().await;
    let driver = with_table(&database).await;
    let x = |x: i64| sqlx::query("INSERT INTO t VALUES ($1)").bind(x);
    driver.execute("insert", x(1)).await.expect("inserted");
    let end = async |connection: &mut PgConnection| {
        insert(connection, 2).await?;
        database.disconnect_all().await;
        insert(connection, 3).await
    };
    let error = driver.transaction("end", end).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    driver.execute("insert", x(4)).await.expect("inserted");
    database.disconnect_all().await;
    driver.execute("insert", x(5)).await.expect("inserted");
    assert_eq!(rows(&database).await, [1, 4, 5]);
}

#[tokio::test]
async fn a_call_can_be_made_from_any_task_with_borrowed_values() {
    let database = Database::create().await;
    let driver = with_table(&database).await;
    let task = tokio::spawn(async move {
        let values = vec![1, 2];
        let insert_all = async |connection: &mut PgConnection| {
            for x in &values {
                insert(connection, *x).await?;
            }
            Ok(values.len())
        };
        driver.transaction("insert", insert_all).await
    });
    assert_eq!(task.await.expect("ran").expect("committed"), 2);
    assert_eq!(rows(&database).await, [1, 2]);
}

async fn one_row(pool: &PgPool, query: &'static str, time: SystemTime) -> sqlx::postgres::PgRow {
    sqlx::query(query)
        .bind(PgTime(time))
        .fetch_one(pool)
        .await
        .expect("a row")
}

#[tokio::test]
async fn times_and_intervals_come_back_with_microseconds() {
    let database = Database::create().await;
    let pool = database.pool();
    for micros in [0, 1, 1_767_225_600_123_456, 946_684_799_999_999] {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
        let query = "SELECT $1, (extract(epoch FROM $1) * 1000000)::bigint, ARRAY[$1]";
        let row = one_row(&pool, query, time).await;
        assert_eq!(row.get::<PgTime, _>(0), PgTime(time));
        assert_eq!(u64::try_from(row.get::<i64, _>(1)), Ok(micros));
        assert_eq!(row.get::<Vec<PgTime>, _>(2), [PgTime(time)]);
    }
    let row = pool
        .fetch_one("SELECT 'infinity'::timestamptz, '-infinity'::timestamptz")
        .await;
    assert!(row.is_ok());
    for (duration, expected) in [
        (Duration::from_micros(1_500_001), "00:00:01.500001"),
        (Duration::MAX, "8760000:00:00"),
    ] {
        let text: String = sqlx::query_scalar("SELECT $1::text WHERE now() + $1 > now()")
            .bind(interval(duration))
            .fetch_one(&pool)
            .await
            .expect("within the calendar");
        assert_eq!(text, expected);
    }
}

#[tokio::test]
async fn uuids_come_back_exactly_alone_and_in_arrays() {
    let database = Database::create().await;
    let pool = database.pool();
    let uuids = [Uuid::nil(), Uuid::max(), Uuid::new_v4(), Uuid::now_v7()].map(PgUuid);
    let row = sqlx::query("SELECT $1[3], $1, $1[3]::text, $2")
        .bind(&uuids[..])
        .bind(uuids[0])
        .fetch_one(&pool)
        .await
        .expect("a row");
    assert_eq!(row.get::<PgUuid, _>(0), uuids[2]);
    assert_eq!(row.get::<Vec<PgUuid>, _>(1), uuids);
    assert_eq!(row.get::<String, _>(2), uuids[2].0.to_string());
    assert_eq!(row.get::<PgUuid, _>(3), uuids[0]);
    let none: Vec<PgUuid> = sqlx::query_scalar("SELECT $1::uuid[]")
        .bind(&uuids[..0])
        .fetch_one(&pool)
        .await
        .expect("a row");
    assert_eq!(none, []);
}

/// The address of the server.
fn address(server: &Server) -> SocketAddr {
    let options: PgConnectOptions = server.url().parse().expect("a URL");
    ([127, 0, 0, 1], options.get_port()).into()
}

/// For a while the address leads to a standby. The heap, the inbox and the store share this behaviour.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_succeeds_as_soon_as_the_address_leads_to_the_primary_again() {
    let primary = Server::start(Kind::Postgres, &search_path()).expect("a server");
    let wire = TcpWire::to(address(&primary)).expect("a wire");
    let options: PgConnectOptions = primary.url().parse().expect("a URL");
    let pool = PgPoolOptions::new()
        .max_connections(3)
        .connect_lazy_with(options.port(wire.port()));
    let driver = Driver::new(pool.clone());
    let create = sqlx::query("CREATE TABLE t (x bigint)");
    driver.execute("create", create).await.expect("created");
    let standby = primary.start_standby(&search_path()).expect("a standby");
    wire.redirect_to(address(&standby));
    wire.cut_all();
    // Three connections to the standby, all idle then.
    let held = [
        pool.acquire().await,
        pool.acquire().await,
        pool.acquire().await,
    ];
    drop(held.map(|held| held.expect("connected")));
    let write = || sqlx::query("INSERT INTO t VALUES (1)");
    let alone = driver.execute("write", write()).await;
    assert_eq!(alone.unwrap_err().kind(), ErrorKind::Unavailable);
    let together = async |connection: &mut PgConnection| insert(connection, 1).await;
    let together = driver.transaction("write", together).await;
    assert_eq!(together.unwrap_err().kind(), ErrorKind::Unavailable);

    // The connections to the standby stay open, as a proxy leaves them.
    wire.redirect_to(address(&primary));
    driver
        .execute("write", write())
        .await
        .expect("written at once");
    let together = async |connection: &mut PgConnection| insert(connection, 1).await;
    let together = driver.transaction("write", together).await;
    together.expect("written at once");
}

/// ALTER DATABASE makes the database read-only, and each session keeps the setting until its end.
#[tokio::test]
async fn a_database_that_becomes_writable_is_written_at_once() {
    let database = Database::create().await;
    let name = database.name().to_owned();
    let set = async |value: &str| {
        let set = format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}");
        let writable = "SET transaction_read_only = off;";
        database.execute(&format!("{writable} {set}")).await;
    };
    database.execute("CREATE TABLE t (x bigint)").await;
    set("on").await;
    let driver = Driver::new(database.pool_of(1));
    let write = || sqlx::query("INSERT INTO t VALUES (1)");
    let refused = driver.execute("write", write()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
    set("off").await;
    driver
        .execute("write", write())
        .await
        .expect("written at once");
}

/// A migration of the application, or a schema that was dropped and created again.
#[tokio::test]
async fn a_table_that_was_created_again_is_read_at_the_second_call() {
    let database = Database::create().await;
    let driver = with_table(&database).await;
    let read = || sqlx::query("SELECT * FROM t");
    driver.fetch("read", read()).await.expect("read");
    database
        .execute("DROP TABLE t; CREATE TABLE t (x text, y text)")
        .await;
    let stale = driver.fetch("read", read()).await;
    assert_eq!(stale.unwrap_err().kind(), ErrorKind::Unavailable);
    driver.fetch("read", read()).await.expect("read");
}
