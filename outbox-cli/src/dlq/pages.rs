//! Dead letters by the page, so that a quarantine of any size fits into memory.

use crate::failure::Failure;
use outbox_core::{DeadLetter, DeadLetterFilter, DeadLetters};

/// Dead letters per call to the store.
pub(super) const PAGE: usize = 100;

/// Walks through the dead letters that match, oldest first.
pub(super) struct Pages<'a> {
    dead_letters: &'a dyn DeadLetters,
    filter: &'a DeadLetterFilter,
    /// The last position that was read.
    after: Option<u64>,
    /// The last position to be read.
    through: Option<u64>,
    most: usize,
    read: usize,
    ended: bool,
}

impl<'a> Pages<'a> {
    pub(super) fn new(dead_letters: &'a dyn DeadLetters, filter: &'a DeadLetterFilter) -> Self {
        Self {
            dead_letters,
            filter,
            after: None,
            through: None,
            most: usize::MAX,
            read: 0,
            ended: false,
        }
    }

    pub(super) fn after(mut self, position: Option<u64>) -> Self {
        self.after = position;
        self
    }

    pub(super) fn through(mut self, position: Option<u64>) -> Self {
        self.through = position;
        self
    }

    pub(super) fn at_most(mut self, dead_letters: usize) -> Self {
        self.most = dead_letters;
        self
    }

    /// How many dead letters were read.
    pub(super) fn read(&self) -> usize {
        self.read
    }

    /// The next dead letters; none at the end.
    pub(super) async fn next(&mut self) -> Result<Vec<DeadLetter>, Failure> {
        let limit = PAGE.min(self.most - self.read);
        if self.ended || limit == 0 {
            return Ok(Vec::new());
        }
        let mut page = self
            .dead_letters
            .list(self.filter, self.after, limit)
            .await?;
        if let Some(through) = self.through {
            page.retain(|dead_letter| dead_letter.position <= through);
        }
        // A short page is the last one, so that new dead letters do not keep the walk going for ever.
        self.ended = page.len() < limit;
        self.read += page.len();
        self.after = page.last().map_or(self.after, |last| Some(last.position));
        Ok(page)
    }
}
