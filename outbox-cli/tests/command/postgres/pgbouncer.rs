//! Through PgBouncer in transaction mode, with `?pgbouncer=true`, and without LISTEN.

use super::Shop;
use crate::support::{Running, arrived, events, refused, until};

/// The shop with another URL of its database.
fn with_url(mut shop: Shop, url: String) -> Shop {
    shop.url = url;
    shop
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
