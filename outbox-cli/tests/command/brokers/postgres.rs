//! The table of another PostgreSQL database.

use super::{PASSWORD, Place};
use crate::postgres::Shop;
use crate::support::{done, json, refused};
use outbox_core::Event;

/// A schema of a database.
struct Table(Shop);

impl Table {
    fn new() -> Self {
        Self(Shop::empty())
    }
}

impl Place for Table {
    fn url(&self) -> String {
        self.0
            .url_with("schema=arrivals&form=cloudevents-structured&source=/shop")
    }

    fn create(&self) {
        let migrate = ["migrate", "--json", "--to", &self.url()];
        let migrated = json(&done(self.0.folder(), &migrate));
        assert_eq!(migrated["up_to_date"], true);
        let component = &migrated["components"][0];
        assert_eq!(component["crate"], "outbox-transport-postgres");
        assert_eq!(component["role"], "destination");
    }

    fn arrived(&self) -> Vec<Event> {
        let rows = self
            .0
            .rows("SELECT * FROM arrivals.outbox_arrived ORDER BY seq");
        let events = rows.iter().map(outbox_transport_postgres::read);
        events.collect::<Result<_, _>>().unwrap()
    }
}

#[test]
fn events_arrive_in_a_table_and_a_missing_table_is_named() {
    let table = Table::new();
    let check = ["migrate", "check", "--to", &table.url()];
    refused(
        table.0.folder(),
        &check,
        2,
        &["arrivals.outbox_arrived", "missing"],
    );
    super::takes_the_events_of_both_stores(&table);
    done(table.0.folder(), &check);
    let print = ["migrate", "print", "--to", &table.url()];
    assert!(done(table.0.folder(), &print).contains("CREATE TABLE"));
}

#[test]
fn a_role_that_may_not_log_in_is_a_problem() {
    let shop = Shop::empty();
    let place = shop.url.rsplit('@').next().unwrap();
    let separator = if place.contains('?') { '&' } else { '?' };
    let to = format!("postgres://unknown_user:{PASSWORD}@{place}{separator}timeout=5s");
    super::is_not_ready(&to, "misconfigured", "unknown_user");
}

#[test]
fn the_demo_uses_its_own_schema() {
    let shop = Shop::empty();
    super::the_demo_runs_at(&shop.url);
    shop.execute(
        "DROP SCHEMA outbox_demo_arrived CASCADE; CREATE SCHEMA outbox_demo_arrived;
         CREATE TABLE outbox_demo_arrived.theirs (x int)",
    );
    super::the_demo_refuses(&shop.url);
    assert_eq!(shop.rows("TABLE outbox_demo_arrived.theirs").len(), 0);
}
