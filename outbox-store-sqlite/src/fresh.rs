//! The part of a claim beyond the cursor: events that no claim has seen.

use crate::builder::{Candidate, ClaimBuilder, ClaimedKey, Room};
use crate::claims::claim_key;
use crate::row::{Key, event};
use crate::steps::{History, Wait, set_waiting};
use outbox_core::ClaimToken;
use rusqlite::types::ValueRef;
use rusqlite::{Result, Row};
use std::collections::HashMap;

/// The most fresh events that one transaction looks at. If all of a long run must wait, the write lock is
/// held for a tenth of a second.
const PAGE: i64 = 100_000;

/// The most keys that one transaction lets wait: each is a row to write.
const WAITING: usize = 10_000;

/// Payload and headers of up to so many bytes are read with the other columns. SQLite keeps them on the page
/// of the row, whose size is 4,096 bytes.
const SMALL: u16 = 2048;

/// What the scan found. It is written after the scan, because a scan must not meet its own writes.
#[derive(Default)]
struct FreshKeys {
    claimed: Vec<Key>,
    /// Keys that wait from now on, with their first event: until its time, or for a dead letter.
    waiting: HashMap<Key, (i64, Option<i64>)>,
    /// Keys of other claims, with the claim and its last event. They get a row, as an event waits for them.
    behind: HashMap<Key, (ClaimToken, i64)>,
}

/// S1: takes events beyond the cursor. It skips those whose key is claimed or waits: a later claim finds
/// them by their key.
pub(crate) fn take_fresh(builder: &mut ClaimBuilder<'_>, room: Room) -> Result<()> {
    let mut found = FreshKeys::default();
    let connection = builder.connection;
    let mut statement = connection.prepare_cached(include_str!("sql/fresh_events.sql"))?;
    let mut rows = statement.query((builder.cursor.position, PAGE, SMALL))?;
    let mut seen = 0;
    builder.unfinished = loop {
        if builder.is_full(room) || found.waiting.len() + found.behind.len() >= WAITING {
            break true;
        }
        let Some(row) = rows.next()? else {
            break builder.unfinished || seen == PAGE;
        };
        seen += 1;
        let seq = row.get(0)?;
        if !visit(builder, row, seq, room, &mut found)? {
            break true;
        }
        builder.cursor.position = seq;
    };
    drop(rows);
    write(builder, found)
}

/// Takes a fresh event or skips it. Returns `false` if the event must stay beyond the cursor, as it is
/// too large for this claim.
fn visit(
    builder: &mut ClaimBuilder<'_>,
    row: &Row<'_>,
    seq: i64,
    room: Room,
    found: &mut FreshKeys,
) -> Result<bool> {
    if builder.in_flight.events.contains_key(&seq) {
        // Its settlement makes its key wait again.
        return Ok(true);
    }
    let candidate = builder.candidate(seq, row.get(10)?, row.get(9)?);
    let key: Key = match row.get_ref(6)? {
        ValueRef::Null => row.get(1)?,
        _ => row.get(6)?,
    };
    let waits = is_waiting(builder, &key, row.get(11)?, found);
    let is_due = !waits && candidate.delayed.is_none();
    let fresh = || is_due.then(ClaimedKey::fresh);
    let Some(mut claimed) = builder.keys.remove(&key).or_else(fresh) else {
        if !waits {
            let wait = (seq, candidate.delayed);
            found.waiting.insert(key, wait);
        }
        return Ok(true);
    };
    let before = claimed.taken;
    let mut stays = false;
    if candidate.delayed.is_some() {
        claimed.open = false;
    } else if claimed.open && claimed.taken >= room.share {
        (claimed.open, claimed.more) = (false, true);
    } else if claimed.open && !builder.fits(candidate.size, room) {
        stays = true;
    } else if claimed.open && !take(builder, row, &mut claimed, &candidate)? && builder.order.blocks
    {
        claimed.open = false;
        if claimed.taken == 0 && matches!(key, Key::Ordering(_)) {
            found.waiting.insert(key.clone(), (seq, None));
        }
    }
    claimed.has_row |= !stays && claimed.taken == before;
    if claimed.taken > 0 {
        found.claimed.push(key.clone());
        builder.keys.insert(key, claimed);
    }
    Ok(!stays)
}

/// Whether the key is claimed or waits. If another claim has it without a row, it gets one.
fn is_waiting(
    builder: &mut ClaimBuilder<'_>,
    key: &Key,
    known: bool,
    found: &mut FreshKeys,
) -> bool {
    if known || found.waiting.contains_key(key) || found.behind.contains_key(key) {
        return true;
    }
    let Some((key, claim)) = builder.in_flight.keys.remove_entry(key) else {
        return false;
    };
    found.behind.insert(key, claim);
    true
}

fn take(
    builder: &mut ClaimBuilder<'_>,
    row: &Row<'_>,
    claimed: &mut ClaimedKey,
    candidate: &Candidate,
) -> Result<bool> {
    let event = if candidate.size <= usize::from(SMALL) {
        event(row)
    } else {
        builder.read(candidate.seq)?
    };
    builder.take(claimed, candidate, event)
}

fn write(builder: &ClaimBuilder<'_>, found: FreshKeys) -> Result<()> {
    let FreshKeys {
        mut claimed,
        waiting,
        behind,
    } = found;
    let now = builder.order.now;
    for (key, (first, until)) in waiting {
        let wait = Wait::until(first, until.unwrap_or(now));
        set_waiting(builder.connection, &key, &wait, until.is_none(), now)?;
    }
    for (key, (token, last_seq)) in behind {
        let history = History::default();
        claim_key(builder.connection, token, &key, last_seq, now, history)?;
    }
    claimed.sort_unstable();
    claimed.dedup();
    for key in claimed {
        if let Some(claimed) = builder.keys.get(&key).filter(|claimed| claimed.has_row) {
            builder.claim_key(&key, claimed)?;
        }
    }
    Ok(())
}
