//! URLs, timeouts, notes of a check.

mod support;

use outbox_core::wire::{Mode, WireForm};
use outbox_core::{ErrorKind, Event, PublishErrorKind, Transport};
use outbox_transport_postgres::{PostgresTransport, PostgresTransportConfig, Schema};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use support::{kinds, publish, text};
use test_servers::postgres::Database;

const SECRET: &str = "s3cret";

/// No runtime.
#[test]
fn a_transport_opens_without_a_runtime_and_without_a_server() {
    let url = format!("postgres://me:{SECRET}@127.0.0.1:1/shop");
    let config = PostgresTransportConfig::from_url(&url).expect("a URL");
    let config = config
        .schema(Schema::new("billing").expect("a name"))
        .call_timeout(Duration::from_millis(100))
        .form(WireForm::new(Mode::CloudEventsBinary))
        .through_pgbouncer();
    assert!(!format!("{config:?}").contains(SECRET));
    let transport = PostgresTransport::open(config).expect("opened");
    assert!(!format!("{transport:?}").contains(SECRET));
    assert_eq!(
        transport.destination(&Event::new("a", "")).expect("named"),
        "billing.outbox_arrived"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let answers = runtime.block_on(transport.publish(&[Event::new("a", "")]));
    assert_eq!(kinds(&answers), [Some(PublishErrorKind::Unavailable)]);
    assert!(!text(answers[0].as_ref().expect_err("refused")).contains(SECRET));
}

#[test]
fn odd_urls_are_refused_without_showing_a_password() {
    for (url, problem) in [
        ("", "it must be a URL such as postgres://"),
        ("db.example", "it must be a URL such as postgres://"),
        (
            "mysql://me:s3cret@db.example/shop",
            "scheme is \"mysql\", but must be postgres or postgresql",
        ),
        (
            "postgres://me:s3cret@db.example:port/shop",
            "it must be a URL such as postgres://",
        ),
        (
            "postgres://me:s3cret@db.example/shop?port=x",
            "a parameter of the URL cannot be used",
        ),
        (
            "postgres://me:s3cret@db.example/shop?sslmode=maybe",
            "a parameter of the URL cannot be used",
        ),
    ] {
        let error = PostgresTransportConfig::from_url(url).expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(problem), "{shown}");
        assert!(!shown.contains(SECRET), "{shown}");
    }
    for url in [
        "postgres://db.example",
        "POSTGRESQL://me@%2Frun%2Fpostgresql/shop?application_name=relay",
    ] {
        let config = PostgresTransportConfig::from_url(url).expect(url);
        PostgresTransport::open(config).expect("opened");
    }
}

#[test]
fn a_call_timeout_of_zero_or_more_than_a_day_is_refused() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let open = |timeout| {
        let config = PostgresTransportConfig::from_url("postgres://db.example").expect("a URL");
        PostgresTransport::open(config.call_timeout(timeout))
    };
    for timeout in [Duration::ZERO, DAY + Duration::from_nanos(1)] {
        let error = open(timeout).expect_err("refused");
        let shown = error.to_string();
        let expected =
            format!("call timeout is {timeout:?}, but must be more than 0 s and at most a day");
        assert!(shown.contains(&expected), "{shown}");
    }
    open(DAY).expect("opened");
}

#[tokio::test]
async fn a_call_without_a_server_ends_within_the_call_timeout_and_two_seconds() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = closed.local_addr().expect("an address").port();
    // It accepts connections and answers nothing.
    for url in [
        format!("postgres://me@127.0.0.1:{port}/shop"),
        "postgres://me@127.0.0.1:1/shop".to_owned(),
    ] {
        let config = PostgresTransportConfig::from_url(&url).expect("a URL");
        let transport = PostgresTransport::open(config.call_timeout(Duration::from_millis(500)))
            .expect("opened");
        let start = Instant::now();
        let answers = transport.publish(&[Event::new("a", "")]).await;
        assert_eq!(kinds(&answers), [Some(PublishErrorKind::Unavailable)]);
        assert!(
            start.elapsed() < Duration::from_secs(4),
            "{:?}",
            start.elapsed()
        );
    }
}

#[tokio::test]
async fn a_check_notes_what_a_crash_of_the_server_could_lose() {
    let database = Database::create().await;
    let transport = PostgresTransport::migrate(database.pool())
        .await
        .expect("migrated");
    let sound = transport.check().await;
    assert!(sound.problems.is_empty(), "{sound:?}");
    let notes = sound.notes.join("\n");
    assert!(notes.contains("table outbox.outbox_arrived"), "{notes}");
    assert!(notes.contains("version 1 of 1"), "{notes}");
    assert!(sound.warnings.is_empty(), "{sound:?}");
    database
        .execute("ALTER TABLE outbox.outbox_arrived SET UNLOGGED")
        .await;
    let careless = database.options().options([("synchronous_commit", "off")]);
    let pool =
        outbox_transport_postgres::sqlx::postgres::PgPoolOptions::new().connect_lazy_with(careless);
    let check = PostgresTransport::open(pool).expect("opened").check().await;
    assert!(check.problems.is_empty(), "{check:?}");
    let notes = check.warnings.join("\n");
    assert!(
        notes.contains("synchronous_commit is off") && notes.contains("UNLOGGED"),
        "{notes}"
    );
}

#[tokio::test]
async fn a_check_names_what_is_missing() {
    let database = Database::create().await;
    let transport = PostgresTransport::open(database.pool()).expect("opened");
    let problem = async || {
        let problems = transport.check().await.problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].kind(), PublishErrorKind::Misconfigured);
        text(&problems[0])
    };
    assert!(problem().await.contains("the table is missing"));
    PostgresTransport::migrate(database.pool())
        .await
        .expect("migrated");
    assert_eq!(
        PostgresTransport::applied_migrations(database.pool())
            .await
            .expect("asked"),
        1
    );
    publish(&transport, &[Event::new("a", "")]).await;
    database
        .execute("ALTER TABLE outbox.outbox_arrived DROP headers")
        .await;
    assert!(problem().await.contains("lacks the columns headers"));
    database.execute("DROP SCHEMA outbox CASCADE").await;
    assert!(problem().await.contains("the table is missing"));
}

#[tokio::test]
async fn a_check_knows_whether_a_newer_table_is_compatible() {
    let database = Database::create().await;
    let transport = PostgresTransport::migrate(database.pool()).await;
    let transport = transport.expect("migrated");
    let newer = "INSERT INTO outbox.outbox_migrations (component, version, min_compatible) VALUES";
    database
        .execute(&format!("{newer} ('arrived', 98, 1)"))
        .await;
    let check = transport.check().await;
    assert!(check.problems.is_empty(), "{:?}", check.problems);
    let notes = check.notes.join("\n");
    let expected = "the table has version 98; this program knows 1, and is compatible";
    assert!(notes.contains(expected), "{notes}");
    publish(&transport, &[Event::new("a", "")]).await;
    database
        .execute(&format!("{newer} ('arrived', 99, 2)"))
        .await;
    let problems = transport.check().await.problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].kind(), PublishErrorKind::Misconfigured);
    let problem = text(&problems[0]);
    assert!(
        problem.contains("version 99") && problem.contains("version 2 or a later one"),
        "{problem}"
    );
}
