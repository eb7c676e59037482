//! The suite for a store that is also a [`RelayRegistry`].
//!
//! ```text
//! // tests/conformance.rs of a store
//! outbox_conformance::registry_suite!(my_store, MyFixture::new(), reports, overviews, cancellation);
//! ```
//!
//! A store that can block keys adds `blocking`.

pub mod blocking;
pub mod cancellation;
pub mod overviews;
pub mod reports;

use crate::check::{check, ok};
use crate::store::{LEASE, StoreFixture, each};
use crate::suite::suite;
use async_trait::async_trait;
use outbox_core::{
    Claim, ClaimLimit, OutboxStorage, Outcome, Overview, RelayId, RelayProgram, RelayRegistry,
    RelayReport,
};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A store that shows an operator what its relays do.
pub trait Observed: OutboxStorage + RelayRegistry {}

impl<S: OutboxStorage + RelayRegistry> Observed for S {}

/// A fixture of a store with a registry.
#[async_trait]
pub trait RegistryFixture: StoreFixture {
    /// An independent handle, to the same store as [`StoreFixture::handle`].
    async fn observed(&self) -> Arc<dyn Observed>;
}

/// A fixture of a store that can block keys, for the group [`blocking`].
#[async_trait]
pub trait BlockingFixture: RegistryFixture {
    /// A handle whose quarantines block their keys.
    async fn blocking_handle(&self) -> Arc<dyn Observed>;
}

suite! {
    $ /// The suite for a [`RelayRegistry`](outbox_core::RelayRegistry).
    registry_suite of registry:
    reports {
        a_report_is_shown_as_it_was_written
        a_later_report_replaces_the_earlier_one
        a_withdrawn_relay_is_gone
        a_silent_relay_is_removed_after_a_day
        the_number_of_relays_is_bounded
    }
    overviews {
        a_claim_is_that_of_the_relay_whose_handle_made_it
        a_claim_is_shown_until_it_ends
        the_first_waiting_event_of_each_key_is_shown
        an_overview_is_bounded_and_changes_nothing
    }
    blocking {
        a_blocked_key_is_shown_with_its_dead_letter
    }
    cancellation {
        a_dropped_report_or_withdrawal_is_applied_or_not
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// More than a case has of anything.
const MANY: usize = 10_000;

fn report(host: &str) -> RelayReport {
    RelayReport::new(RelayId::new(), RelayProgram::new(host, 7, "1.2.3"))
}

async fn overview(store: &Arc<dyn Observed>) -> Overview {
    ok(store.overview(MANY).await)
}

/// The hosts of the relays, sorted.
async fn hosts(store: &Arc<dyn Observed>) -> Vec<String> {
    let relays = overview(store).await.relays;
    let hosts = relays.iter().map(|relay| relay.program.host().to_owned());
    let mut hosts: Vec<String> = hosts.collect();
    hosts.sort_unstable();
    hosts
}

async fn claim(store: &Arc<dyn Observed>, limit: usize) -> Claim {
    let claim = ok(store.claim(ClaimLimit::events(limit), LEASE).await);
    check!(!claim.events.is_empty(), "expected a claim, came none");
    claim
}

async fn settle(store: &Arc<dyn Observed>, claim: &Claim, outcome: &Outcome) {
    ok(store.settle(claim.token, &each(claim, outcome)).await);
}

/// Within a minute, because the clock of a server does not stop.
fn is_about(what: &str, came: SystemTime, expected: SystemTime) {
    let apart = match came.duration_since(expected) {
        Ok(later) => later,
        Err(earlier) => earlier.duration(),
    };
    check!(
        apart < Duration::from_secs(60),
        "{what}: expected {expected:?}, came {came:?}"
    );
}
