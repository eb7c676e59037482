//! Claims in which something is not as it was appended, or not as it was settled.

use super::super::Fault as F;
use super::Saboteur;
use outbox_core::{Claim, ClaimedEvent, Event, EventId};
use std::time::{Duration, SystemTime};

impl Saboteur {
    pub(super) fn alter(&self, claim: &mut Claim) {
        let replayed = |claimed: &ClaimedEvent| self.disk().replayed.contains(&claimed.event.id);
        match self.fault {
            F::InventsAnEvent if claim.events.is_empty() => {
                let invented = ClaimedEvent::new(Event::new("invented", "x"), 0, false);
                claim.events.push(invented);
            }
            F::ReversesTheOrder => claim.events.reverse(),
            F::ReplaysToTheFront => claim.events.sort_by_key(|claimed| !replayed(claimed)),
            _ => {}
        }
        for claimed in &mut claim.events {
            match self.fault {
                F::FlagsEveryLostEvent => claimed.worker_lost = true,
                F::FlagsNoLostEvent => claimed.worker_lost = false,
                F::KeepsTheBudget if replayed(claimed) => claimed.attempts += 1,
                _ => self.alter_event(&mut claimed.event),
            }
        }
    }

    fn alter_event(&self, event: &mut Event) {
        match self.fault {
            F::ChangesTheId => event.id = EventId::new(),
            F::LosesTheType => "event".clone_into(&mut event.event_type),
            F::CutsThePayload => event.payload.truncate(1 << 20),
            F::LosesTheContentType => {
                "application/octet-stream".clone_into(&mut event.content_type);
            }
            F::LosesHeaders => event.headers.clear(),
            F::LosesTheKey => event.ordering_key = None,
            F::LosesTheToken => event.idempotency_token = None,
            F::LosesWhenItWasMade => {
                let since = event.created_at.duration_since(SystemTime::UNIX_EPOCH);
                let seconds = since.unwrap_or_default().as_secs();
                event.created_at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            }
            F::LosesWhenItIsDue => event.available_at = None,
            _ => {}
        }
    }
}
