//! No call compiles statements, unless the caller says so (`jit`).

use outbox_driver_postgres::sqlx::postgres::PgPoolOptions;
use outbox_driver_postgres::sqlx::{self, PgConnection, Row};
use outbox_driver_postgres::{Driver, PostgresConfig, postgres_error};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use test_servers::postgres::Database;
use test_servers::{Kind, Server, search_path};

/// Whether calls may compile statements: one statement, and one in a transaction.
async fn jit(driver: &Driver) -> [String; 2] {
    let show = || sqlx::query("SELECT current_setting('jit')");
    let single = driver.fetch_one("show", show(), |row| row.try_get(0)).await;
    let within = async |connection: &mut PgConnection| {
        let row = show().fetch_one(connection).await;
        row.and_then(|row| row.try_get(0))
            .map_err(postgres_error("show"))
    };
    let within = driver.transaction("show", within).await;
    [single.expect("shown"), within.expect("shown")]
}

#[tokio::test]
async fn no_call_compiles_statements_unless_the_pool_says_so() {
    let database = Database::create().await;
    let alter = format!("ALTER DATABASE {} SET jit = on", database.name());
    database.execute(&alter).await;
    let (store, heap) = {
        let pool = database.pool();
        (Driver::new(pool.clone()), Driver::new(pool))
    };
    assert_eq!(jit(&store).await, ["off", "off"]);
    assert_eq!(jit(&heap).await, ["off", "off"]);
    let options = store.pool().connect_options();
    assert_eq!(
        options
            .get_options()
            .unwrap_or_default()
            .matches("jit")
            .count(),
        1
    );

    let options = database.options().options([("jit", "on")]);
    let theirs = Driver::new(PgPoolOptions::new().connect_lazy_with(options));
    assert_eq!(jit(&theirs).await, ["on", "on"]);
}

/// A database where statements may be compiled, behind `PgBouncer`, which refuses the startup parameter
/// `options`.
async fn bounced() -> (Database, Server) {
    let url = test_servers::url(Kind::Postgres).unwrap_or_else(|error| panic!("{error}"));
    let database = Database::create_on(&url).await;
    let alter = format!("ALTER DATABASE {} SET jit = on", database.name());
    database.execute(&alter).await;
    let bouncer = tokio::task::spawn_blocking(move || {
        Server::start_pgbouncer(&search_path(), &url).unwrap_or_else(|error| panic!("{error}"))
    });
    (database, bouncer.await.expect("a PgBouncer"))
}

#[tokio::test(flavor = "multi_thread")]
async fn through_pgbouncer_no_call_compiles_statements() {
    let (database, bouncer) = bounced().await;
    let options = database.options_through(bouncer.url());
    let pool = PgPoolOptions::new().connect_lazy_with(options);
    let config = PostgresConfig::new(pool).through_pgbouncer();
    assert_eq!(jit(&Driver::new(config)).await, ["off", "off"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_the_parameter_is_used_without_it() {
    let (database, bouncer) = bounced().await;
    let options = database.options_through(bouncer.url());
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(options);
    assert_eq!(jit(&Driver::new(pool)).await, ["on", "off"]);
}

/// A proxy to the server that refuses `jit` as a feature that it does not have, as RDS Proxy does. Returns
/// its port.
fn proxy_without_jit(server: (&str, u16)) -> u16 {
    let mut addresses = server.to_socket_addrs().expect("an address");
    let server = addresses.next().expect("an address");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.expect("a client");
            std::thread::spawn(move || drop(connect_without_jit(client, server)));
        }
    });
    port
}

fn connect_without_jit(mut client: TcpStream, server: SocketAddr) -> io::Result<()> {
    const NO_TLS: &[u8] = b"N";
    const REFUSAL: &[u8] = b"SFATAL\0C0A000\0Mnot supported: command-line options\0\0";
    let mut message = startup(&mut client)?;
    // It asks for TLS first.
    if message.len() == 8 {
        client.write_all(NO_TLS)?;
        message = startup(&mut client)?;
    }
    if message.windows(4).any(|part| part == b"jit=") {
        let length = u32::try_from(REFUSAL.len() + 4).expect("short");
        return client.write_all(&[&b"E"[..], &length.to_be_bytes(), REFUSAL].concat());
    }
    let mut server = TcpStream::connect(server)?;
    server.write_all(&message)?;
    let (mut requests, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || io::copy(&mut requests, &mut to_server));
    io::copy(&mut server, &mut client).map(drop)
}

/// The first message of a client. Its length counts itself.
fn startup(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    client.read_exact(&mut length)?;
    let mut message = vec![0; u32::from_be_bytes(length).saturating_sub(4) as usize];
    client.read_exact(&mut message)?;
    Ok([&length[..], &message].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_does_not_have_the_parameter_is_used_without_it() {
    let database = Database::create().await;
    let alter = format!("ALTER DATABASE {} SET jit = on", database.name());
    database.execute(&alter).await;
    let port = proxy_without_jit(database.address());
    let pool = database.pool_over(port, 1);
    assert_eq!(jit(&Driver::new(pool)).await, ["on", "off"]);
}
