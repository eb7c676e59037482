//! Dead letters with one fault.

use super::super::Fault as F;
use super::{Done, Saboteur};
use async_trait::async_trait;
use outbox_core::{DeadLetter, DeadLetterFilter, DeadLetterGroup, DeadLetters, Event, EventId};
use std::time::{Duration, SystemTime};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Call {
    List,
    Statistics,
    Replay,
    Purge,
}

#[derive(Clone, Copy, Debug)]
enum Condition {
    Id,
    Type,
    Key,
    Error,
    Time,
}

/// The condition that a call leaves out.
fn left_out(fault: F) -> Option<(Call, Condition)> {
    Some(match fault {
        F::ListsAnyId => (Call::List, Condition::Id),
        F::ListsAnyType => (Call::List, Condition::Type),
        F::ListsAnyKey => (Call::List, Condition::Key),
        F::ListsAnyError => (Call::List, Condition::Error),
        F::ListsAnyTime => (Call::List, Condition::Time),
        F::CountsAnyId => (Call::Statistics, Condition::Id),
        F::CountsAnyType => (Call::Statistics, Condition::Type),
        F::CountsAnyKey => (Call::Statistics, Condition::Key),
        F::CountsAnyError => (Call::Statistics, Condition::Error),
        F::CountsAnyTime => (Call::Statistics, Condition::Time),
        F::ReplaysAnyId => (Call::Replay, Condition::Id),
        F::ReplaysAnyType => (Call::Replay, Condition::Type),
        F::ReplaysAnyKey => (Call::Replay, Condition::Key),
        F::ReplaysAnyError => (Call::Replay, Condition::Error),
        F::ReplaysAnyTime => (Call::Replay, Condition::Time),
        F::PurgesAnyId => (Call::Purge, Condition::Id),
        F::PurgesAnyType => (Call::Purge, Condition::Type),
        F::PurgesAnyKey => (Call::Purge, Condition::Key),
        F::PurgesAnyError => (Call::Purge, Condition::Error),
        F::PurgesAnyTime => (Call::Purge, Condition::Time),
        _ => return None,
    })
}

impl Saboteur {
    /// The filter as the call understands it.
    fn misread(&self, filter: &DeadLetterFilter, call: Call) -> DeadLetterFilter {
        let mut filter = filter.clone();
        match left_out(self.fault) {
            Some((faulty, condition)) if faulty == call => match condition {
                Condition::Id => filter.ids = None,
                Condition::Type => filter.event_type = None,
                Condition::Key => filter.ordering_key = None,
                Condition::Error => filter.error_contains = None,
                Condition::Time => filter.before = None,
            },
            _ => {}
        }
        match (self.fault, filter.ids.take()) {
            (F::TakesIdsForTheWholeFilter, Some(ids)) => return DeadLetterFilter::all().ids(ids),
            (_, ids) => filter.ids = ids,
        }
        if self.fault == F::FindsNothingBeforeATime && filter.before.is_some() {
            filter.before = Some(SystemTime::UNIX_EPOCH);
        }
        filter
    }

    fn as_told(&self, mut dead_letter: DeadLetter) -> DeadLetter {
        match self.fault {
            F::ListsNoSizes => dead_letter.payload_size = 0,
            F::ForgetsReplays => dead_letter.replays = 0,
            F::LosesTheCount => dead_letter.failure_count = 1,
            F::LosesTheError => dead_letter.last_error = None,
            F::LosesWhenItFailed => dead_letter.first_failed_at = dead_letter.last_failed_at,
            _ => {}
        }
        dead_letter
    }

    /// Only the newest of the dead letters that match.
    async fn newest(&self, filter: &DeadLetterFilter, limit: usize) -> Done<DeadLetterFilter> {
        let dead_letters = self.store.list(filter, None, usize::MAX).await?;
        let newest = dead_letters.iter().rev().take(limit);
        Ok(DeadLetterFilter::all().ids(newest.map(|dead_letter| dead_letter.id)))
    }

    async fn replay_as_others(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Done<Vec<EventId>> {
        let dead_letters = self.store.export(filter, None, limit, usize::MAX).await?;
        let ids = self.store.purge(filter, limit).await?;
        let events = dead_letters.into_iter().map(|(_, event)| event);
        let others: Vec<_> = events.map(|event| event.id(EventId::new())).collect();
        self.store.append(&others)?;
        Ok(ids)
    }

    fn regroup(&self, groups: &mut Vec<DeadLetterGroup>) {
        match self.fault {
            F::GroupsWithoutTheError => merge(groups, |group| group.event_type.clone()),
            F::GroupsByErrorAlone => merge(groups, |group| group.last_error.clone()),
            F::ListsTheSmallestGroups => groups.reverse(),
            _ => {}
        }
        for group in groups {
            match self.fault {
                F::OmitsTheErrorOfAGroup => group.last_error = None,
                F::OmitsTheOldestOfAGroup => group.oldest = group.newest,
                F::OmitsTheNewestOfAGroup => group.newest = group.oldest,
                _ => {}
            }
        }
    }
}

/// Joins the groups that have the same key.
fn merge<K: PartialEq>(groups: &mut Vec<DeadLetterGroup>, key: impl Fn(&DeadLetterGroup) -> K) {
    let mut merged: Vec<DeadLetterGroup> = Vec::new();
    for group in groups.drain(..) {
        match merged.iter_mut().find(|first| key(first) == key(&group)) {
            Some(first) => first.count += group.count,
            None => merged.push(group),
        }
    }
    *groups = merged;
}

#[async_trait]
impl DeadLetters for Saboteur {
    async fn list(
        &self,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Done<Vec<DeadLetter>> {
        let filter = self.misread(filter, Call::List);
        let after = after.map(|after| match self.fault {
            F::SkipsADeadLetter => after + 1,
            F::RepeatsADeadLetter => after - 1,
            _ => after,
        });
        let dead_letters = self.store.list(&filter, after, limit).await?;
        Ok(dead_letters
            .into_iter()
            .map(|dead_letter| self.as_told(dead_letter))
            .collect())
    }

    async fn find(&self, id: EventId) -> Done<Option<(DeadLetter, Event)>> {
        let found = self.store.find(id).await?;
        Ok(found.map(|(dead_letter, mut event)| {
            if self.fault == F::LosesHeadersOfADeadLetter {
                event.headers.clear();
            }
            (self.as_told(dead_letter), event)
        }))
    }

    async fn export(
        &self,
        filter: &DeadLetterFilter,
        after: Option<u64>,
        limit: usize,
        bytes: usize,
    ) -> Done<Vec<(DeadLetter, Event)>> {
        let bytes = match self.fault {
            F::ExportsWithoutBound => usize::MAX,
            _ => bytes,
        };
        let mut page = self.store.export(filter, after, limit, bytes).await?;
        for (dead_letter, event) in &mut page {
            *dead_letter = self.as_told(dead_letter.clone());
            if self.fault == F::LosesHeadersOfADeadLetter {
                event.headers.clear();
            }
        }
        if self.fault == F::ExportsOnlyTheSmall {
            page.retain(|(_, event)| event.payload.len() <= bytes);
        }
        Ok(page)
    }

    async fn replay(&self, filter: &DeadLetterFilter, limit: usize) -> Done<Vec<EventId>> {
        let filter = &self.misread(filter, Call::Replay);
        let replayed = match self.fault {
            F::PurgesWhatItReplays => self.store.purge(filter, limit).await,
            F::ReplaysToTheEnd | F::LosesAReplayWhenDropped => {
                self.move_in_steps(filter, limit).await
            }
            F::HurriesOnReplay => {
                self.clock.advance(Duration::from_secs(3600));
                self.store.replay(filter, limit).await
            }
            F::ReplaysWithoutBound => self.store.replay(filter, usize::MAX).await,
            F::ReplaysUnderANewId => self.replay_as_others(filter, limit).await,
            F::ReplaysOnceOnly if !self.disk().replayed.is_empty() => Ok(Vec::new()),
            F::ReplaysTheNewest => {
                let newest = self.newest(filter, limit).await?;
                self.store.replay(&newest, limit).await
            }
            _ => self.store.replay(filter, limit).await,
        }?;
        self.disk().replayed.extend(&replayed);
        Ok(replayed)
    }

    async fn purge(&self, filter: &DeadLetterFilter, limit: usize) -> Done<Vec<EventId>> {
        let filter = &self.misread(filter, Call::Purge);
        match self.fault {
            F::KeepsWhatItPurges => {
                let dead_letters = self.store.list(filter, None, limit).await?;
                Ok(dead_letters
                    .iter()
                    .map(|dead_letter| dead_letter.id)
                    .collect())
            }
            F::PurgesHalfWhenDropped => self.purge_one_by_one(filter, limit).await,
            F::PurgesWithoutBound => self.store.purge(filter, usize::MAX).await,
            F::PurgesOnceOnly if std::mem::replace(&mut self.disk().purged, true) => Ok(Vec::new()),
            F::PurgesTheNewest => {
                let newest = self.newest(filter, limit).await?;
                self.store.purge(&newest, limit).await
            }
            _ => self.store.purge(filter, limit).await,
        }
    }

    async fn statistics(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Done<Vec<DeadLetterGroup>> {
        let filter = self.misread(filter, Call::Statistics);
        let mut groups = self.store.statistics(&filter, usize::MAX).await?;
        self.regroup(&mut groups);
        groups.truncate(limit);
        Ok(groups)
    }
}
