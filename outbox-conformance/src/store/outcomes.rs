//! The events of one key after a settlement.

use super::{StoreFixture, mixes};

/// S2, S5: with every mix of outcomes of the events of a key, the first that remains waits for its
/// time, and the others wait for it.
pub async fn every_mix_of_outcomes_keeps_the_order_of_its_key<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    mixes::check_all(&fixture, &store).await;
}
