//! A heap as the contract describes it, for one caller at a time.

use super::call::{Answer, Call};
use super::model::Tracked;
use outbox_core::{DlqEntry, EventId};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// The expected content of a heap.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    events: BTreeMap<EventId, Tracked>,
    now: Duration,
}

/// The scripts' clock moves by whole hours, so the duration of a script does not matter.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

impl Reference {
    pub(crate) fn elapse(&mut self, time: Duration) {
        self.now += time;
    }

    pub(crate) fn plant(&mut self, id: EventId, count: u32) {
        let event = self.events.entry(id).or_default();
        event.fail(None, self.now);
        event.count = count;
    }

    /// How many entries a prune forgets, and forgets them.
    pub(crate) fn prune(&mut self, age: Duration) -> usize {
        let (before, now) = (self.events.len(), self.now);
        self.events.retain(|_, event| !event.is_older(age, now));
        before - self.events.len()
    }

    /// Follows a call, or says in what its answer is wrong. A bounded lease may choose.
    pub(crate) fn follow(&mut self, call: &Call, answer: &Answer) -> Result<(), String> {
        match (call, answer) {
            (Call::RecordFailure(id), Answer::Done) => {
                self.events.entry(*id).or_default().fail(None, self.now);
            }
            (Call::RecordFailures(failures), Answer::Done) => {
                for failure in failures {
                    let event = self.events.entry(failure.id).or_default();
                    event.fail(failure.error.as_ref(), self.now);
                }
            }
            (Call::RecordSuccess(id), Answer::Done) => drop(self.events.remove(id)),
            (Call::Forget(ids), Answer::Done) => {
                self.events.retain(|id, _| !ids.contains(id));
            }
            (Call::Drain { threshold }, Answer::Entries(entries)) => {
                self.compare(*threshold, usize::MAX, entries)?;
                for entry in entries {
                    self.events.remove(&entry.id);
                }
            }
            (
                Call::Lease {
                    threshold,
                    limit,
                    lease,
                },
                Answer::Entries(entries),
            ) => {
                self.compare(*threshold, *limit, entries)?;
                for entry in entries {
                    let event = self.events.entry(entry.id).or_default();
                    event.leased_until = self.now + *lease;
                }
            }
            (Call::Size, Answer::Size(Some(size))) => {
                let held = self.events.len() as u64;
                if size.entries != held || size.oldest.is_some() != (held > 0) {
                    return Err(format!(
                        "{held} entries are tracked, but the size is {size:?}"
                    ));
                }
            }
            (call, answer) => return Err(format!("{answer:?} is not an answer to {call}")),
        }
        Ok(())
    }

    /// Checks that the entries are up to `limit` of those that are due, and whole.
    fn compare(&self, threshold: u32, limit: usize, entries: &[DlqEntry]) -> Result<(), String> {
        let due = |(_, event): &(&EventId, &Tracked)| event.is_due(threshold, self.now);
        let due: BTreeMap<_, _> = self.events.iter().filter(due).collect();
        let fits = |entry: &DlqEntry| {
            let event = due.get(&entry.id);
            event.is_some_and(|event| event.counts_as(entry) && times_fit(event, entry))
        };
        let distinct: HashSet<EventId> = entries.iter().map(|entry| entry.id).collect();
        let enough = entries.len() == due.len().min(limit) && distinct.len() == entries.len();
        if enough && entries.iter().all(fits) {
            return Ok(());
        }
        let limit = limit.min(due.len());
        let due = due.iter().map(|(id, event)| text_of(**id, event));
        let returned = entries.iter().map(entry_text);
        let (due, returned) = (lines(due), lines(returned));
        Err(format!(
            "{limit} of these were due:{due}\nand it returned:{returned}"
        ))
    }
}

fn lines(texts: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> = texts.collect();
    if lines.is_empty() {
        return " none".to_owned();
    }
    format!("\n  {}", lines.join("\n  "))
}

fn text_of(id: EventId, event: &Tracked) -> String {
    let hours = event.failing_for().as_secs() / HOUR.as_secs();
    format!("{id}: {}, failed over {hours} h", event.counted())
}

/// An entry as text, for a message and for comparison with that of another heap.
pub(crate) fn entry_text(entry: &DlqEntry) -> String {
    let counted = Tracked {
        count: entry.failure_count,
        error: entry.last_error.clone(),
        ..Tracked::default()
    };
    let hours = match hours_between(entry) {
        Some(hours) => hours.to_string(),
        None => "less than no".to_owned(),
    };
    format!("{}: {}, failed over {hours} h", entry.id, counted.counted())
}

/// H11: to the hour, as a heap has its own clock.
fn times_fit(event: &Tracked, entry: &DlqEntry) -> bool {
    let hours = event.failing_for().as_secs() / HOUR.as_secs();
    hours_between(entry) == Some(hours)
}

/// The hours from the first failure to the last.
fn hours_between(entry: &DlqEntry) -> Option<u64> {
    let between = entry.last_failed_at.duration_since(entry.first_failed_at);
    Some((between.ok()? + HOUR / 2).as_secs() / HOUR.as_secs())
}
