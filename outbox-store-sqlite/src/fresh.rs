//! The part of a claim beyond the cursor: events that no claim has seen.

use crate::builder::{Candidate, ClaimBuilder, ClaimedKey, Room};
use crate::row::Key;
use crate::steps::{History, Wait, set_waiting};
use rusqlite::Result;
use std::collections::HashMap;

/// The most fresh events that one transaction looks at. If all of a long run must wait, the write lock is
/// held for a tenth of a second.
const PAGE: i64 = 100_000;

/// The most keys that one transaction lets wait: each is a row to write.
const WAITING: usize = 10_000;

/// What the scan found. It is written after the scan, because a scan must not meet its own writes.
#[derive(Default)]
struct FreshKeys {
    claimed: Vec<Key>,
    /// Keys that wait from now on, with their first event: until its time, or for a dead letter.
    waiting: HashMap<Key, (i64, Option<i64>)>,
}

/// S1: takes events beyond the cursor. It skips those whose key is claimed or waits: a later claim finds
/// them by their key.
pub(crate) fn take_fresh(builder: &mut ClaimBuilder<'_>, room: Room) -> Result<()> {
    let mut found = FreshKeys::default();
    let connection = builder.connection;
    let mut statement = connection.prepare_cached(include_str!("sql/fresh_events.sql"))?;
    let mut rows = statement.query((builder.cursor.position, PAGE))?;
    let mut seen = 0;
    builder.unfinished = loop {
        if builder.is_full(room) || found.waiting.len() >= WAITING {
            break true;
        }
        let Some(row) = rows.next()? else {
            break builder.unfinished || seen == PAGE;
        };
        seen += 1;
        let (key, known) = (row.get(3)?, row.get(4)?);
        let candidate = builder.candidate(row)?;
        if !visit(builder, &candidate, key, known, room, &mut found)? {
            break true;
        }
        builder.cursor.position = candidate.seq;
    };
    drop(rows);
    write(builder, found)
}

/// Takes a fresh event or skips it. Returns `false` if the event must stay beyond the cursor, as it is
/// too large for this claim.
fn visit(
    builder: &mut ClaimBuilder<'_>,
    candidate: &Candidate,
    key: Key,
    known: bool,
    room: Room,
    found: &mut FreshKeys,
) -> Result<bool> {
    if builder.in_flight.contains_key(&candidate.seq) {
        // Its settlement makes its key wait again.
        return Ok(true);
    }
    let waits = known || found.waiting.contains_key(&key);
    let is_due = !waits && candidate.delayed.is_none();
    let fresh = || is_due.then(|| ClaimedKey::new(History::default(), None));
    let Some(mut claimed) = builder.keys.remove(&key).or_else(fresh) else {
        if !waits {
            let wait = (candidate.seq, candidate.delayed);
            found.waiting.insert(key, wait);
        }
        return Ok(true);
    };
    let mut stays = false;
    if candidate.delayed.is_some() {
        claimed.open = false;
    } else if claimed.open && claimed.taken >= room.share {
        (claimed.open, claimed.more) = (false, true);
    } else if claimed.open && !builder.fits(candidate.size, room) {
        stays = true;
    } else if claimed.open && !builder.take(&mut claimed, candidate)? && builder.order.blocks {
        claimed.open = false;
        if claimed.taken == 0 && matches!(key, Key::Ordering(_)) {
            found.waiting.insert(key.clone(), (candidate.seq, None));
        }
    }
    if claimed.taken > 0 {
        found.claimed.push(key.clone());
        builder.keys.insert(key, claimed);
    }
    Ok(!stays)
}

fn write(builder: &ClaimBuilder<'_>, found: FreshKeys) -> Result<()> {
    let FreshKeys {
        mut claimed,
        waiting,
    } = found;
    let now = builder.order.now;
    for (key, (first, until)) in waiting {
        let wait = Wait {
            first,
            due_at: until.unwrap_or(now),
            history: History::default(),
        };
        set_waiting(builder.connection, &key, &wait, until.is_none(), now)?;
    }
    claimed.sort_unstable();
    claimed.dedup();
    for key in claimed {
        if let Some(claimed) = builder.keys.get(&key) {
            builder.claim_key(&key, claimed)?;
        }
    }
    Ok(())
}
