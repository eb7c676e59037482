//! How often an idle worker looks.

use crate::fakes::{FakeBroker, FakeStore, event};
use async_trait::async_trait;
use outbox_core::{
    Backlog, Claim, ClaimLimit, ClaimToken, ClaimedEvent, DlqEntry, OutboxError, OutboxProcessor,
    OutboxStorage, QuarantineOutcome, Settlement,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;

/// Notes how long each wait for work may take.
#[derive(Debug)]
struct Noting(FakeStore, Arc<Mutex<Vec<Duration>>>);

#[async_trait]
impl OutboxStorage for Noting {
    async fn claim(&self, limit: ClaimLimit, lease: Duration) -> Result<Claim, OutboxError> {
        self.0.claim(limit, lease).await
    }

    async fn settle(&self, token: ClaimToken, all: &[Settlement]) -> Result<(), OutboxError> {
        self.0.settle(token, all).await
    }

    async fn quarantine_events(
        &self,
        entries: &[DlqEntry],
    ) -> Result<Vec<QuarantineOutcome>, OutboxError> {
        self.0.quarantine_events(entries).await
    }

    async fn wait_for_work(&self, at_most: Duration) -> Result<(), OutboxError> {
        self.1.lock().expect("no panic while locked").push(at_most);
        self.0.wait_for_work(at_most).await
    }

    async fn backlog(&self) -> Result<Backlog, OutboxError> {
        self.0.backlog().await
    }
}

#[tokio::test(start_paused = true)]
async fn the_polls_of_an_idle_worker_grow_to_five_intervals_until_events_come() {
    const SECOND: Duration = Duration::from_secs(1);
    let nothing = || Ok(Vec::new());
    let some = Ok(vec![ClaimedEvent::new(event(), 0, false)]);
    let claims = (0..20).map(|_| nothing()).chain([some]);
    let waits = Arc::default();
    let store = Noting(FakeStore::answers(claims), Arc::clone(&waits));
    let worker = OutboxProcessor::new(store, FakeBroker::default());
    worker
        .run(sleep(Duration::from_secs(300)))
        .await
        .expect("stopped");
    let waits = waits.lock().expect("no panic while locked").clone();
    let (idle, after) = waits.split_at(20);
    assert_eq!(idle[0], SECOND, "soon after work");
    for (waits, longest) in [(&idle[1..2], 2), (&idle[2..3], 4), (&idle[3..], 5)] {
        for wait in waits {
            let range = SECOND * longest / 2..=SECOND * longest;
            assert!(range.contains(wait), "{idle:?}");
        }
    }
    assert!(idle[3..].iter().any(|wait| *wait != idle[3]), "{idle:?}");
    assert!(after.starts_with(&[SECOND]), "{after:?}");
}
