//! One call: a statement for all events, or a few if the server refuses one of them.

use crate::Table;
use crate::error::{Failure, late};
use crate::row::{Row, insert};
use outbox_core::{Event, PublishError, PublishErrorKind};
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The most bytes of the rows of a statement. A larger row is alone in its statement.
const STATEMENT: usize = 64 << 20;

/// How much longer than the call timeout a call may take. The driver's errors say more than ours.
const GRACE: Duration = Duration::from_secs(2);

/// A call in progress.
struct Call<'t> {
    table: &'t Table,
    deadline: Instant,
    rows: Vec<Option<Row<'t>>>,
    /// None: not yet answered.
    answers: Vec<Option<Result<(), PublishError>>>,
    /// T7: the keys of events that the server refused. Their earlier events are answered.
    closed: HashSet<&'t str>,
    /// What remains to be inserted; the last part is the next.
    parts: Vec<Part>,
}

/// Some rows of a call, by their places, in order.
#[derive(Debug)]
struct Part {
    rows: Vec<usize>,
    /// The next part is the second half of the rows of which this is the first.
    is_first_half: bool,
    /// One of the rows is refused, because the statement with both halves was, and the first half was not.
    is_refused: bool,
}

/// Publishes `events` and answers for each of them.
pub(crate) async fn publish(table: &Table, events: &[Event]) -> Vec<Result<(), PublishError>> {
    let mut call = Call::new(table, events);
    while let Some(part) = call.next() {
        match call.insert(&part.rows).await {
            Ok(()) => call.accept(&part),
            Err(Failure::Row(error)) => match part.rows[..] {
                [row] => call.refuse(row, error),
                _ => call.split(part),
            },
            Err(Failure::Call(error)) => {
                call.parts.clear();
                return call.answers(&error);
            }
        }
    }
    let text = "an earlier event of its ordering key was not accepted";
    call.answers(&PublishError::new(PublishErrorKind::Unavailable).with_source(text))
}

impl<'t> Call<'t> {
    fn new(table: &'t Table, events: &'t [Event]) -> Self {
        let mut call = Self {
            table,
            deadline: Instant::now() + table.driver.call_timeout() + GRACE,
            rows: Vec::with_capacity(events.len()),
            answers: Vec::with_capacity(events.len()),
            closed: HashSet::new(),
            parts: Vec::new(),
        };
        let mut closed = HashSet::new();
        for event in events {
            let row = Row::of(&table.form, event).map_err(|error| {
                closed.extend(event.ordering_key.as_deref());
                error.with_destination(&*table.name)
            });
            let (row, answer) = match row {
                // A later event of the key is never inserted.
                Ok(row) if row.key().is_some_and(|key| closed.contains(key)) => (None, None),
                Ok(row) => (Some(row), None),
                Err(error) => (None, Some(Err(error))),
            };
            call.rows.push(row);
            call.answers.push(answer);
        }
        call.parts = call.statements();
        call
    }

    /// The rows in parts of [`STATEMENT`] bytes, the first part last.
    fn statements(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let mut bytes = 0_usize;
        for (place, row) in self.rows.iter().enumerate() {
            let Some(row) = row else { continue };
            bytes = bytes.saturating_add(row.size());
            match parts.last_mut() {
                Some(part) if bytes <= STATEMENT => part.rows.push(place),
                _ => {
                    bytes = row.size();
                    parts.push(Part::of(vec![place]));
                }
            }
        }
        parts.reverse();
        parts
    }

    /// The next part that is worth a statement, without the rows of closed keys.
    fn next(&mut self) -> Option<Part> {
        while let Some(mut part) = self.parts.pop() {
            part.rows.retain(|&place| !self.is_closed(place));
            match part.rows[..] {
                [] => {}
                [_, _, ..] if part.is_refused => self.split(part),
                _ => return Some(part),
            }
        }
        None
    }

    async fn insert(&self, places: &[usize]) -> Result<(), Failure> {
        let rows: Vec<&Row<'_>> = places
            .iter()
            .filter_map(|&place| self.rows[place].as_ref())
            .collect();
        let table = self.table;
        let insert = insert(table.insert.clone(), &rows);
        match timeout_at(self.deadline, table.driver.execute("publish", insert)).await {
            Ok(Ok(inserted)) => {
                let known = (rows.len() as u64).saturating_sub(inserted);
                table.duplicates.fetch_add(known, Ordering::Relaxed);
                Ok(())
            }
            Ok(Err(error)) => Err(Failure::of(error, &table.name)),
            Err(_) => Err(Failure::Call(late(table.driver.call_timeout() + GRACE))),
        }
    }

    fn accept(&mut self, part: &Part) {
        for &place in &part.rows {
            self.answers[place] = Some(Ok(()));
        }
        if let Some(second) = self.parts.last_mut().filter(|_| part.is_first_half) {
            second.is_refused = true;
        }
    }

    fn refuse(&mut self, place: usize, error: PublishError) {
        let key = self.rows[place].as_ref().and_then(Row::key);
        self.closed.extend(key);
        self.answers[place] = Some(Err(error));
    }

    fn split(&mut self, mut part: Part) {
        let second = part.rows.split_off(part.rows.len() / 2);
        let mut first = Part::of(part.rows);
        first.is_first_half = true;
        self.parts.extend([Part::of(second), first]);
    }

    fn is_closed(&self, place: usize) -> bool {
        let key = self.rows[place].as_ref().and_then(Row::key);
        key.is_some_and(|key| self.closed.contains(key))
    }

    /// The answers. Events without one get `rest`.
    fn answers(self, rest: &PublishError) -> Vec<Result<(), PublishError>> {
        let answer = |answer: Option<_>| answer.unwrap_or_else(|| Err(rest.clone()));
        self.answers.into_iter().map(answer).collect()
    }
}

impl Part {
    fn of(rows: Vec<usize>) -> Self {
        Self {
            rows,
            is_first_half: false,
            is_refused: false,
        }
    }
}
