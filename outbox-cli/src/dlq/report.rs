//! The ids of changed dead letters, written as they come: a list of any length fits into memory.

use crate::cli::ChangeOptions;
use crate::failure::Failure;
use crate::log::note;
use crate::terminal::{counted, print, write};
use outbox_core::EventId;

/// A line for each id, or one JSON object: `{"replayed":["…"],"dry_run":false}`.
pub(super) struct Report {
    done: &'static str,
    json: bool,
    dry_run: bool,
    count: usize,
}

impl Report {
    pub(super) fn begin(done: &'static str, options: &ChangeOptions) -> Result<Self, Failure> {
        if options.json {
            // A reader that is gone is noticed before anything is changed.
            write(format_args!("{{\"{done}\":["))?;
        }
        Ok(Self {
            done,
            json: options.json,
            dry_run: options.dry_run,
            count: 0,
        })
    }

    /// Counts what was done even if it cannot be written.
    pub(super) fn add(&mut self, ids: &[EventId]) -> Result<(), Failure> {
        let before = self.count;
        self.count += ids.len();
        for (number, id) in (before..).zip(ids) {
            if self.json {
                let comma = if number == 0 { "" } else { "," };
                write(format_args!("{comma}\"{id}\""))?;
            } else {
                print(id)?;
            }
        }
        Ok(())
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Ends the object, which must be whole also when the run has failed.
    pub(super) fn end(self) -> Result<(), Failure> {
        if self.json {
            return print(format_args!("],\"dry_run\":{}}}", self.dry_run));
        }
        let would = if self.dry_run { "would be " } else { "" };
        let count = counted(self.count as u64, "dead letter");
        note(format_args!("{count} {would}{}", self.done));
        Ok(())
    }
}
