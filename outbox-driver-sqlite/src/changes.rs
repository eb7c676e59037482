//! Notices commits by what they leave on the disk, without a statement.

use crate::lookout;
use std::fs::Metadata;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// For so long after the last write a file may have changes that its time does not show: another write may have
/// the same time, which some file systems round to two seconds, and a write is on the disk a moment before it
/// is committed.
const RECENT: Duration = Duration::from_secs(3);

/// The least age at which a change is reported again. The kernel rounds times to a few milliseconds.
const LEAST: Duration = Duration::from_millis(10);

/// Tells whether something may have been committed to a database, by this or another process.
///
/// It reads the time and the size of the write-ahead log, into which each commit is written. That costs one call
/// of the operating system and no lock, so it may be asked many times a second.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The write-ahead log. None for a database in memory.
    log: Option<PathBuf>,
    seen: Option<State>,
    /// The age of the last write when a change was reported last.
    reported: Duration,
    quiet: Arc<Mutex<Option<Quiet>>>,
}

/// The log before and after the latest write that is no change. Nothing else was committed in between.
#[derive(Clone, Copy, Debug)]
struct Quiet {
    before: State,
    after: State,
}

/// The size, the time of the last write, and which file it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct State {
    size: u64,
    written: SystemTime,
    file: u64,
}

impl Changes {
    pub(crate) fn of(log: Option<PathBuf>) -> Self {
        Self {
            log,
            seen: None,
            reported: Duration::ZERO,
            quiet: Arc::default(),
        }
    }

    /// Whether something may have been committed since the last call. True for the first call, when the log
    /// changed, if it is gone, and always for a database in memory. After a write it is true again when the
    /// write is twice as old, until it is three seconds old. So a commit that the times do not show is noticed
    /// late in proportion, and one write is reported fewer than ten times.
    /// A [quiet write](crate::Driver::write_quietly) through a clone of the same driver is no change.
    ///
    /// Commits of a writer that stopped for longer in the middle of one may be missed, so a caller must look
    /// into the database now and then in any case.
    pub fn since_last(&mut self) -> bool {
        let seen = self.look();
        let is_same = seen.is_some() && (seen == self.seen || self.is_quiet(seen));
        let age = seen.as_ref().and_then(|log| age(log.written));
        self.seen = seen;
        let is_reported = age.is_some_and(|age| self.reported >= RECENT || age < self.reported * 2);
        if is_same && is_reported {
            return false;
        }
        self.reported = age.map_or(Duration::ZERO, |age| age.max(LEAST));
        true
    }

    /// Returns when [`since_last`](Self::since_last) is true. A thread of the process asks every 25 milliseconds
    /// for all that wait. If more than ten wait, it asks 400 times a second at most, so a hundred idle databases
    /// cost no more than ten, and each is asked for every 250 milliseconds.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the next call reports what it would have reported.
    pub async fn wait(&mut self) {
        loop {
            if let Some(changes) = lookout::change(self.clone()).await {
                *self = changes;
                return;
            }
            if self.since_last() {
                return;
            }
        }
    }

    /// Clones do not report that the log changed from one state to the other.
    pub(crate) fn pass_over(&self, before: State, after: State) {
        *self.quiet() = Some(Quiet { before, after });
    }

    /// Whether only a quiet write was committed since the log was seen.
    fn is_quiet(&self, now: Option<State>) -> bool {
        let quiet = *self.quiet();
        quiet.is_some_and(|quiet| self.seen == Some(quiet.before) && now == Some(quiet.after))
    }

    fn quiet(&self) -> MutexGuard<'_, Option<Quiet>> {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None if nothing can be said.
    pub(crate) fn look(&self) -> Option<State> {
        let found = std::fs::metadata(self.log.as_ref()?).ok()?;
        Some(State {
            size: found.len(),
            written: found.modified().ok()?,
            file: identity(&found),
        })
    }
}

/// For how long a file has not been written to. None if that is not known, so that each call must report a change: the
/// file system rounds times to seconds, or a clock was set back.
fn age(written: SystemTime) -> Option<Duration> {
    let age = match SystemTime::now().duration_since(written) {
        Ok(age) => age,
        // A file of the far future was not written just now.
        Err(ahead) if ahead.duration() > RECENT => return Some(ahead.duration()),
        Err(_) => return None,
    };
    let since = written.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (age > RECENT || since.subsec_nanos() != 0).then_some(age)
}

#[cfg(unix)]
fn identity(found: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    found.ino()
}

/// On other systems an open file cannot be replaced.
#[cfg(not(unix))]
fn identity(_: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, FileTimes};

    fn aged(file: &File, milliseconds: u64) {
        let time = SystemTime::now() - Duration::from_millis(milliseconds);
        set(file, time);
    }

    fn set(file: &File, time: SystemTime) {
        file.set_times(FileTimes::new().set_modified(time))
            .expect("set");
    }

    #[test]
    fn only_an_old_file_that_is_the_same_has_no_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("db");
        let file = File::create(&path).expect("created");
        let mut changes = Changes::of(Some(path.clone()));
        aged(&file, 10_000);
        assert!(changes.since_last() && !changes.since_last());
        aged(&file, 9_000);
        assert!(
            changes.since_last() && !changes.since_last(),
            "another time"
        );
        file.set_len(7).expect("written");
        aged(&file, 9_000);
        assert!(
            changes.since_last() && !changes.since_last(),
            "another size"
        );
        std::fs::remove_file(&path).expect("removed");
        assert!(changes.since_last() && changes.since_last(), "it is gone");
        let mut memory = Changes::of(None);
        assert!(memory.since_last() && memory.since_last());
    }

    /// The time of the file stays, and the clock continues.
    #[test]
    fn a_write_is_reported_again_until_it_is_three_seconds_old() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("db");
        let file = File::create(&path).expect("created");
        let mut changes = Changes::of(Some(path));
        aged(&file, 400);
        assert!(changes.since_last(), "it is new");
        assert!(!changes.since_last(), "it is as old");
        for reported in [150, 400, 1_600] {
            changes.reported = Duration::from_millis(reported);
            let is_twice_as_old = reported == 150;
            assert_eq!(changes.since_last(), is_twice_as_old, "{reported}");
        }
        let old = SystemTime::now() - Duration::from_secs(7);
        set(&file, old);
        assert!(changes.since_last() && !changes.since_last());
        changes.reported = Duration::from_secs(2);
        assert!(
            changes.since_last() && !changes.since_last(),
            "the last time"
        );
    }

    #[test]
    fn only_the_quiet_write_itself_is_no_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("db");
        let file = File::create(&path).expect("created");
        let mut changes = Changes::of(Some(path));
        let write = |writer: &Changes, bytes: u64, is_quiet: bool| {
            let before = writer.look().expect("a file");
            file.set_len(bytes).expect("written");
            aged(&file, 9_000 - bytes);
            if is_quiet {
                writer.pass_over(before, writer.look().expect("a file"));
            }
        };
        let writer = changes.clone();
        aged(&file, 10_000);
        assert!(changes.since_last(), "the first look");
        write(&writer, 1, true);
        assert!(!changes.since_last(), "a quiet write");
        write(&writer, 2, false);
        assert!(changes.since_last(), "another write");
        write(&writer, 3, false);
        write(&writer, 4, true);
        assert!(changes.since_last(), "another write before it");
        write(&writer, 5, true);
        write(&writer, 6, false);
        assert!(changes.since_last(), "another write after it");
        let mut stranger = Changes::of(changes.log.clone());
        assert!(stranger.since_last() && !stranger.since_last());
        write(&writer, 7, true);
        assert!(stranger.since_last(), "a write of another handle");
    }

    #[test]
    fn times_that_say_nothing_are_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("db");
        let file = File::create(&path).expect("created");
        let mut changes = Changes::of(Some(path));
        let now = SystemTime::now();
        set(&file, now + Duration::from_secs(2));
        assert!(changes.since_last() && changes.since_last(), "the future");
        let since = now.duration_since(SystemTime::UNIX_EPOCH).expect("later");
        set(
            &file,
            SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()),
        );
        assert!(
            changes.since_last() && changes.since_last(),
            "whole seconds"
        );
    }
}
