//! One thread looks at the files of all databases of the process whose users wait for a commit. If each of them had
//! a timer, an idle process with many databases would wake up its runtime hundreds of times a second.

use crate::changes::Changes;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;

/// How often it looks at a few files.
const TICK: Duration = Duration::from_millis(25);

/// With more files it looks less often, so that it looks at no more than 400 files in a second.
const FOR_EACH: Duration = Duration::from_micros(2_500);

/// Its thread starts when a user waits for the first time, and stays.
static LOOKOUT: Lookout = Lookout {
    waiting: Mutex::new(Vec::new()),
    comes: Condvar::new(),
};

struct Lookout {
    waiting: Mutex<Vec<Waiting>>,
    comes: Condvar,
}

struct Waiting {
    changes: Changes,
    /// Closed if its user does not wait any more.
    changed: oneshot::Sender<Changes>,
}

/// Returns when something may have been committed, as [`Changes::since_last`] says. None: no thread could be
/// started, and a tick has passed.
pub(crate) async fn change(changes: Changes) -> Option<Changes> {
    if !has_started() {
        tokio::time::sleep(TICK).await;
        return None;
    }
    let (sender, changed) = oneshot::channel();
    let waiting = Waiting {
        changes,
        changed: sender,
    };
    LOOKOUT.lock().push(waiting);
    LOOKOUT.comes.notify_one();
    changed.await.ok()
}

fn has_started() -> bool {
    static STARTED: OnceLock<bool> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let thread = thread::Builder::new().name("outbox-lookout".to_owned());
        let started = thread.spawn(|| LOOKOUT.run());
        if let Err(error) = &started {
            tracing::warn!(%error, "no thread looks for commits: each wait looks itself");
        }
        started.is_ok()
    })
}

impl Lookout {
    fn run(&self) -> ! {
        loop {
            let mut waiting = self.lock();
            while waiting.is_empty() {
                waiting = self
                    .comes
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            let tick = tick(waiting.len());
            drop(waiting);
            thread::sleep(until_next(tick));
            // A file system that hangs must not hang those who come.
            let looked_at = std::mem::take(&mut *self.lock());
            let unchanged: Vec<Waiting> = looked_at.into_iter().filter_map(look).collect();
            self.lock().extend(unchanged);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports a change. Returns who must wait longer.
fn look(mut waiting: Waiting) -> Option<Waiting> {
    if waiting.changed.is_closed() {
        return None;
    }
    if !waiting.changes.since_last() {
        return Some(waiting);
    }
    // Its user may have stopped waiting.
    let _ = waiting.changed.send(waiting.changes);
    None
}

fn tick(files: usize) -> Duration {
    let files = u32::try_from(files).unwrap_or(u32::MAX);
    TICK.max(FOR_EACH.saturating_mul(files))
}

/// The time until the next tick of the clock, so that several processes look at the same time.
fn until_next(tick: Duration) -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let over = since.unwrap_or_default().as_nanos() % tick.as_nanos();
    Duration::from_nanos(u64::try_from(tick.as_nanos() - over).unwrap_or_default())
}
