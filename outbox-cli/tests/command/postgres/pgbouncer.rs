//! Through PgBouncer in transaction mode, with `?pgbouncer=true`, and without LISTEN.

use super::Shop;
use crate::support::{Running, arrived, command, events, lines, refused, until};
use std::process::Stdio;
use test_servers::{Kind, Server, search_path};

/// A PgBouncer before the server of the shop, and the shop's URL through it.
fn bounced(shop: &Shop) -> (Server, String) {
    let server = test_servers::url(Kind::Postgres).unwrap();
    let bouncer = Server::start_pgbouncer(&search_path(), &server).unwrap();
    let address = bouncer.url().split_once('@').unwrap().1;
    let address = address.split('/').next().unwrap();
    let url = format!("postgres://postgres@{address}/{}", shop.database.name());
    (bouncer, url)
}

/// The shop with another URL of its database.
fn with_url(mut shop: Shop, url: String) -> Shop {
    shop.url = url;
    shop
}

#[test]
fn every_command_works_through_pgbouncer() {
    let shop = Shop::empty();
    let (_bouncer, url) = bounced(&shop);
    let shop = with_url(shop, format!("{url}?pgbouncer=true"));
    shop.done(&["migrate"]);
    shop.done(&["migrate", "check"]);
    for _ in 0..3 {
        shop.appended(&events("order.placed", 20));
        let published = shop.done(&["relay", "--drain"]);
        assert_eq!(lines(&published).len(), 20);
    }
    let dead = shop.quarantined(&events("order.placed", 3), "refused");
    assert_eq!(shop.status("dead_letters"), 3);
    assert_eq!(shop.done(&["dlq", "list"]).lines().count(), 4);
    assert_eq!(shop.done(&["dlq", "stats"]).lines().count(), 2);
    assert_eq!(shop.done(&["dlq", "export"]).lines().count(), 3);
    shop.done(&["dlq", "show", &dead[0].to_string()]);
    shop.done(&["dlq", "replay", &dead[0].to_string()]);
    shop.done(&["dlq", "purge", "--all", "--yes"]);
    assert_eq!(shop.done(&["relay", "--drain"]).lines().count(), 1);
}

#[test]
fn two_relays_through_pgbouncer_publish_each_event() {
    let shop = Shop::migrated();
    let (_bouncer, url) = bounced(&shop);
    let url = format!("{url}?pgbouncer=true");
    let start = |to| {
        let mut relay = command(shop.folder(), &["relay", "--store", &url, "--to", to]);
        relay.stdout(Stdio::null());
        Running::start(relay)
    };
    let mut relays = [start("file:one"), start("file:two")];
    for _ in 0..10 {
        shop.appended(&events("order.placed", 10));
    }
    until("an empty outbox", || shop.status("pending") == 0);
    let arrived = ["one", "two"].map(|name| arrived(&shop.folder().join(name)).len());
    assert_eq!(arrived.iter().sum::<usize>(), 100);
    relays.iter_mut().for_each(Running::stop);
}

#[test]
fn a_store_that_does_not_listen_holds_no_connection_for_it() {
    let shop = Shop::migrated();
    let shop = {
        let url = shop.url_with("listen=false");
        with_url(shop, url)
    };
    let mut running = Running::start(shop.command(&["relay", "--to", "file:out"]));
    shop.appended(&events("order.placed", 1));
    until("the event", || {
        arrived(&shop.folder().join("out")).len() == 1
    });
    let listening = "SELECT FROM pg_stat_activity
                     WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    assert!(shop.rows(listening).is_empty());
    running.stop();
}

#[test]
fn a_switch_of_another_value_is_refused_with_what_is_allowed() {
    let shop = Shop::empty();
    for (parameters, reasons) in [
        ("pgbouncer=yes", &["pgbouncer", "yes", "true, false"][..]),
        ("listen=0", &["listen", "\"0\"", "true, false"]),
        (
            "pgbouncer=true&pgbouncer=true",
            &["more than one pgbouncer"],
        ),
        (
            "pgbouncer=true&listen=true",
            &["listen=true", "transaction mode"],
        ),
    ] {
        let url = shop.url_with(parameters);
        refused(shop.folder(), &["status", "--store", &url], 2, reasons);
    }
    let url = shop.url_with("pgbouncer=true");
    refused(
        shop.folder(),
        &["demo", "--store", &url],
        2,
        &["pgbouncer", "demo"],
    );
}
