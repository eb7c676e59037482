//! Edits of rows: the memory store has no tables, so they take effect when the events are settled.

use super::super::Fault as F;
use super::{Done, Saboteur};
use async_trait::async_trait;
use outbox_conformance::store::{Edit, EditFixture};
use outbox_core::{
    ClaimToken, DeadLetterFilter, DeadLetters, DlqEntry, ErrorKind, Event, EventId, OutboxError,
    OutboxStorage, Outcome, Settlement,
};
use std::time::SystemTime;

impl Saboteur {
    pub(super) fn is_edited(&self, settlements: &[Settlement]) -> bool {
        let edits = &self.disk().edits;
        settlements.iter().any(|one| edits.contains_key(&one.id))
    }

    /// Takes the rows away that are deleted, and appends those in their place.
    pub(super) async fn settle_edited(
        &self,
        token: ClaimToken,
        mut settlements: Vec<Settlement>,
    ) -> Done<()> {
        match self.fault {
            F::RefusesAnEdit => {
                let kind = ErrorKind::Invalid;
                return Err(OutboxError::new(kind, "saboteur", "settle"));
            }
            F::StopsAtAnEdit => return Ok(()),
            F::LosesTheClaimOfAnEdit => settlements
                .iter_mut()
                .for_each(|one| one.outcome = Outcome::Published),
            F::BringsTheDeletedBack => return self.store.settle(token, &settlements).await,
            _ => {}
        }
        let mut appended = Vec::new();
        for one in &mut settlements {
            let Some(edit) = self.disk().edits.remove(&one.id) else {
                continue;
            };
            let published = matches!(one.outcome, Outcome::Published);
            appended.extend(self.in_its_place(edit, published));
            one.outcome = Outcome::Published;
        }
        self.store.settle(token, &settlements).await?;
        self.store.append(&appended)
    }

    fn in_its_place(&self, edit: Edit, published: bool) -> Option<Event> {
        match edit {
            Edit::Replace(event) if self.fault != F::LosesWhatReplaces => Some(event),
            Edit::ChangeKey(id, key) if !published => self.with_key(id, &key),
            _ => None,
        }
    }

    async fn lose(&self, id: EventId) -> Done<()> {
        let now = SystemTime::UNIX_EPOCH;
        let entries = [DlqEntry::new(id, 1, now, now)];
        self.store.quarantine_events(&entries).await?;
        let filter = DeadLetterFilter::all().ids([id]);
        self.store.purge(&filter, 1).await.map(drop)
    }

    fn with_key(&self, id: EventId, key: &str) -> Option<Event> {
        let disk = self.disk();
        let event = disk.appended.iter().find(|event| event.id == id)?;
        Some(event.clone().ordering_key(key))
    }
}

#[async_trait]
impl EditFixture for Saboteur {
    async fn edit(&self, edit: Edit) {
        let id = match &edit {
            Edit::Delete(id) | Edit::ChangeKey(id, _) => *id,
            Edit::Replace(event) => event.id,
            _ => unreachable!("no case asks for another edit"),
        };
        if self.fault == F::LosesAChangedKey {
            self.lose(id).await.expect("lost");
        }
        self.disk().edits.insert(id, edit);
    }
}
