//! The rows of relays.

use super::{HOUR, RegistryFixture, hosts, is_about, overview, report};
use crate::check::{check_eq, ok, refuse};
use outbox_core::{ErrorText, RelayPause, RelayReport};
use std::time::Duration;

/// R1: each field of a report, with odd texts, is shown; times are those of the store's clock.
pub async fn a_report_is_shown_as_it_was_written<F: RegistryFixture>(fixture: F) {
    let (store, other) = (fixture.observed().await, fixture.observed().await);
    let mut written = report(&"größer \"host\" 'x' ".repeat(100));
    let destination = "nats://größer\t\"n\"?subject='{type}'\n".repeat(100);
    written.program = written.program.publishing_to(&destination);
    written.last_pass = Some(2 * HOUR);
    written.last_error = Some((ErrorText::new("a\n\u{1b}[2J \u{10ffff}"), 3 * HOUR));
    let minute = Duration::from_secs(60);
    written.pauses = vec![
        RelayPause::new(None, "unavailable", "refused\t\"", minute),
        RelayPause::new(Some("order.{x}\\"), "misconfigured", "no\nstream", HOUR),
    ];
    ok(store.report(&written).await);
    ok(other.report(&report("other")).await);
    let overview = overview(&other).await;
    let mut relays = overview.relays.iter();
    let Some(shown) = relays.find(|relay| relay.id == written.id) else {
        refuse!(
            "expected the relay {}, came {:?}",
            written.id,
            overview.relays
        )
    };
    check_eq!(shown.program, written.program);
    check_eq!(shown.pauses, written.pauses);
    is_about("heard", shown.heard, overview.now);
    is_about("since", shown.since, overview.now);
    let (Some(pass), Some((error, failed))) = (shown.last_pass, shown.last_error.clone()) else {
        refuse!("expected a pass and an error, came {shown:?}")
    };
    is_about("last pass", pass, overview.now - 2 * HOUR);
    is_about("last error", failed, overview.now - 3 * HOUR);
    check_eq!(error.as_str(), "a\n\u{1b}[2J \u{10ffff}");
}

/// R1: a relay has one row, which keeps since when it is known; the row of another relay stays as it is.
pub async fn a_later_report_replaces_the_earlier_one<F: RegistryFixture>(fixture: F) {
    let store = fixture.observed().await;
    let (mut first, second) = (report("first"), report("second"));
    first.program = first.program.publishing_to("nats://first");
    first.last_error = Some((ErrorText::new("refused"), HOUR));
    first.pauses = vec![RelayPause::new(None, "unavailable", "refused", HOUR)];
    ok(store.report(&second).await);
    ok(store.report(&first).await);
    let began = overview(&store).await.now;
    fixture.elapse(HOUR).await;
    let program = first.program.clone().publishing_to("redis://second");
    ok(store.report(&RelayReport::new(first.id, program)).await);
    let overview = overview(&store).await;
    check_eq!(overview.relays.len(), 2, "relays");
    for relay in &overview.relays {
        let (heard, destination) = if relay.id == first.id {
            (HOUR, Some("redis://second"))
        } else {
            (Duration::ZERO, None)
        };
        is_about("since", relay.since, began);
        is_about("heard", relay.heard, began + heard);
        check_eq!((&relay.last_error, &relay.pauses), (&None, &Vec::new()));
        check_eq!(relay.program.destination(), destination);
    }
    check_eq!(
        overview.relays[0].id,
        first.id,
        "the relay that was heard last"
    );
}

/// R2: a withdrawal removes one relay, and may be repeated.
pub async fn a_withdrawn_relay_is_gone<F: RegistryFixture>(fixture: F) {
    let store = fixture.observed().await;
    let (first, second) = (report("first"), report("second"));
    ok(store.withdraw(first.id).await);
    for one in [&first, &second] {
        ok(store.report(one).await);
    }
    for _ in 0..2 {
        ok(fixture.observed().await.withdraw(first.id).await);
        check_eq!(hosts(&store).await, ["second"]);
    }
}

/// R3: a relay that reports removes the relays that were silent for more than a day, and only those.
pub async fn a_silent_relay_is_removed_after_a_day<F: RegistryFixture>(fixture: F) {
    let store = fixture.observed().await;
    ok(store.report(&report("old")).await);
    fixture.elapse(2 * HOUR).await;
    ok(store.report(&report("young")).await);
    fixture.elapse(23 * HOUR).await;
    check_eq!(hosts(&store).await, ["old", "young"]);
    ok(store.report(&report("new")).await);
    check_eq!(hosts(&store).await, ["new", "young"]);
}

/// R3: relays that start and die again and again do not fill the store.
pub async fn the_number_of_relays_is_bounded<F: RegistryFixture>(fixture: F) {
    let store = fixture.observed().await;
    for _ in 0..3 {
        ok(store.report(&report("old")).await);
    }
    fixture.elapse(HOUR).await;
    for _ in 0..RelayReport::MAX_RELAYS {
        ok(store.report(&report("new")).await);
    }
    check_eq!(hosts(&store).await, vec!["new"; RelayReport::MAX_RELAYS]);
}
