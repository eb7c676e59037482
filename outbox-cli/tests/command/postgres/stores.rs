//! One relay with many stores, on PostgreSQL and on SQLite.

use crate::postgres::Shop;
use crate::stores::{numbered, numbers, table};
use crate::support::{Running, append_to, blocking, command, done, refused, signal, until};
use outbox_core::Event;
use outbox_store_postgres::sqlx::{self, Connection, PgConnection};
use outbox_store_postgres::{Appender, Schema};
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

const SCHEMAS: [&str; 5] = ["p1", "p2", "p3", "p4", "p5"];
/// Seven stores need three each, also those that are dead.
const CONNECTIONS: i64 = 25;

async fn append(shop: &Shop, schema: &str, events: &[Event]) {
    let mut connection = PgConnection::connect_with(&shop.database.options())
        .await
        .unwrap();
    let appender = Appender::new(&Schema::new(schema).unwrap());
    appender.append(&mut connection, events).await.unwrap();
}

/// Those that the relay holds, by the name of its connections.
async fn held(connection: &mut PgConnection) -> i64 {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'many_stores' \
                 AND datname = current_database()";
    sqlx::query_scalar(count)
        .fetch_one(connection)
        .await
        .unwrap()
}

/// 20 stores on SQLite and 5 on PostgreSQL, of which one is removed meanwhile, and two more that are dead: a
/// server that does not exist, and a schema without tables.
#[test]
fn many_stores_share_their_connections_and_dead_ones_disturb_no_other() {
    let shop = Shop::empty();
    let folder = shop.folder();
    let sqlite: Vec<String> = (1..=20).map(|number| format!("s{number}")).collect();
    let mut text = format!("[relay]\nconnections = {CONNECTIONS}\npoll-interval = \"20ms\"\n");
    text.extend(sqlite.iter().map(|name| table(name)));
    let places = SCHEMAS.map(|schema| (schema, shop.url_with(&format!("schema={schema}"))));
    for (name, url) in &places {
        let url = format!("{url}&application_name=many_stores");
        writeln!(
            text,
            "[[store]]\nname = \"{name}\"\nurl = \"{url}\"\nto = \"file:{name}\""
        )
        .unwrap();
    }
    fs::write(folder.join("outbox.toml"), &text).unwrap();
    done(folder, &["migrate", "--config", "outbox.toml"]);
    let dead = [
        (
            "closed",
            "postgres://me@127.0.0.1:9/shop?sslmode=disable".to_owned(),
        ),
        ("empty", shop.url_with("schema=empty")),
    ];
    for (name, url) in dead {
        writeln!(text, "[[store]]\nname = \"{name}\"\nurl = \"{url}\"").unwrap();
    }
    fs::write(folder.join("outbox.toml"), text).unwrap();
    for name in &sqlite {
        append_to(folder, name, &numbered(0, 30));
    }
    let mut relay = Running::start(command(folder, &["relay", "--config", "outbox.toml"]));
    let mut most = 0;
    let mut watch = |done: &dyn Fn() -> bool| {
        let start = Instant::now();
        blocking(async {
            let mut connection = PgConnection::connect_with(&shop.database.options())
                .await
                .unwrap();
            while !done() {
                assert!(start.elapsed() < Duration::from_secs(120), "never arrived");
                most = held(&mut connection).await.max(most);
            }
        });
    };
    let has = |name: &str, count: usize| numbers(&folder.join(name)) == (count, true);
    watch(&|| sqlite.iter().all(|name| has(name, 30)));
    fs::remove_file(folder.join("s20.db")).unwrap();
    for round in 0..3 {
        blocking(async {
            for schema in SCHEMAS {
                append(&shop, schema, &numbered(round * 100, 100)).await;
            }
        });
        for name in &sqlite[..19] {
            append_to(folder, name, &numbered(100 + round * 10, 10));
        }
    }
    watch(&|| SCHEMAS.iter().all(|name| has(name, 300)));
    watch(&|| sqlite[..19].iter().all(|name| has(name, 60)));
    // Each of the five has a connection of its pool, and one that listens.
    until("all connections", || {
        blocking(async {
            let mut connection = PgConnection::connect_with(&shop.database.options())
                .await
                .unwrap();
            let held = held(&mut connection).await;
            most = held.max(most);
            held >= 10
        })
    });
    assert!(most <= CONNECTIONS, "{most} connections");
    signal(&relay.0, "TERM");
    assert_eq!(relay.0.wait().unwrap().code(), Some(1));
}

#[test]
fn a_store_and_its_heap_share_the_connections_that_the_budget_leaves_them() {
    let shop = Shop::migrated();
    let url = shop.url_with("application_name=many_stores");
    let append_all = || {
        blocking(async {
            for round in 0..20 {
                append(&shop, "outbox", &numbered(round * 100, 100)).await;
            }
        });
    };
    append_all();
    let relay = ["relay", "--drain", "--store", &url, "--connections"];
    refused(
        shop.folder(),
        &[&relay[..], &["2"]].concat(),
        2,
        &["connections is 2, but must be 3 or more"],
    );
    let relay = [&relay[..], &["3", "--to", "file:out"]].concat();
    let mut relay = Running::start(command(shop.folder(), &relay));
    let mut most = 0;
    blocking(async {
        let mut connection = PgConnection::connect_with(&shop.database.options())
            .await
            .unwrap();
        while relay.0.try_wait().unwrap().is_none() {
            most = held(&mut connection).await.max(most);
        }
    });
    assert!(relay.0.wait().unwrap().success());
    assert_eq!(numbers(&shop.folder().join("out")), (2000, true));
    assert!((1..=3).contains(&most), "{most} connections");
    until("the end", || {
        blocking(async {
            let mut connection = PgConnection::connect_with(&shop.database.options())
                .await
                .unwrap();
            held(&mut connection).await == 0
        })
    });
}
