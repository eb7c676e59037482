//! What a settlement makes of the events of one key.

use super::{StoreFixture, mixes};

/// S2, S5: whatever mix of outcomes the events of a key have, the first that remains waits for its
/// time, and the others behind it.
pub async fn every_mix_of_outcomes_keeps_the_order_of_its_key<F: StoreFixture>(fixture: F) {
    let store = fixture.handle().await;
    mixes::check_all(&fixture, &store).await;
}
