//! One claim: due keys and fresh events, in one write transaction.

use crate::builder::{ClaimBuilder, ClaimOrder, ClaimedKey, End, Room};
use crate::claims::{claim_key, event_bytes, key_bytes};
use crate::fresh::take_fresh;
use crate::housekeeping::rescue;
use crate::row::{Key, count};
use crate::steps::{History, Wait, expire, key_events, run, wait_or_remove};
use outbox_core::{Claim, ClaimLimit};
use rusqlite::{Connection, OptionalExtension, Result};

/// While events of other keys are due, a key may have an eighth of a claim.
const SHARES: usize = 8;

/// The result of one transaction.
pub(crate) enum Progress {
    Done(Claim),
    /// The transaction took nothing, and there are further events to look at.
    Unfinished,
}

/// A key that is due.
struct DueKey {
    key: Key,
    at: i64,
    history: History,
    /// The event that has the history, if it is known.
    first: Option<i64>,
}

/// Takes events within the limit.
pub(crate) fn claim(connection: &Connection, order: ClaimOrder) -> Result<Progress> {
    expire(connection, order.now)?;
    let mut builder = ClaimBuilder::new(connection, order)?;
    fill(&mut builder)?;
    finish(builder)
}

/// S6: the due keys have half of the claim, the fresh events the other half, and each takes what the
/// other leaves. The odd event, and a first event that is larger than half, alternate with the turn.
fn fill(builder: &mut ClaimBuilder<'_>) -> Result<()> {
    let even = builder.cursor.turn % 2 == 0;
    if even && is_suspect_first(builder)? && take_suspect(builder)? {
        return Ok(());
    }
    let ClaimLimit { events, bytes, .. } = builder.order.limit;
    let all = Room {
        events,
        bytes,
        share: events.div_ceil(SHARES),
        oversize: true,
    };
    let half = Room {
        events: if even { events.div_ceil(2) } else { events / 2 },
        bytes: if even { bytes.div_ceil(2) } else { bytes / 2 },
        oversize: even,
        ..all
    };
    take_due(builder, half)?;
    take_fresh(builder, all)?;
    take_due(builder, all)?;
    take_more(builder, all)?;
    if builder.taken.is_empty() {
        take_suspect(builder)?;
    }
    Ok(())
}

fn finish(mut builder: ClaimBuilder<'_>) -> Result<Progress> {
    let (connection, order) = (builder.connection, builder.order);
    let turn = i64::from(!builder.taken.is_empty());
    run(
        connection,
        include_str!("sql/move_cursor.sql"),
        (builder.cursor.position, turn),
    )?;
    if builder.taken.is_empty() {
        if builder.unfinished || rescue(connection, order.now)? {
            return Ok(Progress::Unfinished);
        }
        return Ok(Progress::Done(Claim::empty()));
    }
    builder.taken.sort_unstable_by_key(|(seq, _)| *seq);
    let places = builder.taken.iter();
    let places = places.map(|(seq, claimed)| (*claimed.event.id.as_uuid(), *seq));
    let fresh = builder.keys.iter();
    let fresh = fresh.filter(|(_, claimed)| claimed.taken > 0 && !claimed.has_row);
    let size = i64::try_from(builder.taken.len()).unwrap_or(i64::MAX);
    run(
        connection,
        include_str!("sql/open_claim.sql"),
        (
            builder.token.as_uuid().as_bytes(),
            order.now.saturating_add(order.lease),
            order.lease,
            size,
            event_bytes(places),
            key_bytes(fresh.map(|(key, claimed)| (key, claimed.last_seq))),
        ),
    )?;
    let events = builder.taken.into_iter().map(|(_, event)| event).collect();
    Ok(Progress::Done(Claim::new(builder.token, events)))
}

/// Whether a suspect has been due for longer than every other key.
fn is_suspect_first(builder: &ClaimBuilder<'_>) -> Result<bool> {
    let suspect = due(builder, include_str!("sql/due_suspect.sql"))?;
    let other = due(builder, include_str!("sql/due_key.sql"))?;
    Ok(match (suspect, other) {
        (Some(suspect), Some(other)) => suspect.at <= other.at,
        (suspect, _) => suspect.is_some(),
    })
}

/// S7: takes the first event of a suspect key, alone.
fn take_suspect(builder: &mut ClaimBuilder<'_>) -> Result<bool> {
    let alone = Room {
        events: 1,
        bytes: 0,
        share: 1,
        oversize: true,
    };
    while let Some(due) = due(builder, include_str!("sql/due_suspect.sql"))? {
        if builder.is_full(alone) {
            builder.unfinished = true;
            break;
        }
        let taken = take_due_key(builder, due, alone)?;
        if taken.is_some_and(|taken| taken > 0) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes events of keys that are due.
fn take_due(builder: &mut ClaimBuilder<'_>, room: Room) -> Result<()> {
    while !builder.is_full(room) {
        let Some(due) = due(builder, include_str!("sql/due_key.sql"))? else {
            break;
        };
        if take_due_key(builder, due, room)?.is_none() {
            // The key stays due. Its first event may be larger than the room of this phase.
            builder.unfinished = true;
            break;
        }
    }
    Ok(())
}

fn due(builder: &ClaimBuilder<'_>, sql: &str) -> Result<Option<DueKey>> {
    builder
        .connection
        .prepare_cached(sql)?
        .query_row([builder.order.now], |row| {
            let history = History {
                attempts: count(row.get(2)?),
                worker_lost: row.get(3)?,
            };
            Ok(DueKey {
                key: row.get(0)?,
                at: row.get(1)?,
                history,
                first: row.get(4)?,
            })
        })
        .optional()
}

/// Takes the first events of a due key and returns their number, or `None` if the first does not fit.
/// Unless it returns `None`, the key is due no longer: it is claimed, waits, or has no event.
fn take_due_key(builder: &mut ClaimBuilder<'_>, due: DueKey, room: Room) -> Result<Option<usize>> {
    let (connection, position) = (builder.connection, builder.cursor.position);
    if let Some((token, last_seq)) = builder.in_flight.keys.remove(&due.key) {
        // S13: an event was given the key of another claim by hand.
        claim_key(
            connection,
            token,
            &due.key,
            last_seq,
            builder.order.now,
            due.history,
        )?;
        return Ok(Some(0));
    }
    let blocked_from = key_events(connection, &due.key, position)?.blocked_from;
    let mut claimed = ClaimedKey::due(due.history, blocked_from);
    let end = builder.extend(&due.key, &mut claimed, due.first, room)?;
    let taken = claimed.taken;
    if taken > 0 {
        builder.claim_key(&due.key, &claimed)?;
        builder.keys.insert(due.key, claimed);
        return Ok(Some(taken));
    }
    let history = claimed.history;
    let wait = match end {
        End::NoRoom => return Ok(None),
        End::Waits(first, due_at) => Some(Wait {
            history,
            ..Wait::until(first, due_at)
        }),
        End::NoMore => None,
    };
    wait_or_remove(connection, &due.key, position, builder.order.now, wait)?;
    Ok(Some(0))
}

/// Takes further events of the keys that had their share, in turns. No other key has an event that is
/// due.
fn take_more(builder: &mut ClaimBuilder<'_>, room: Room) -> Result<()> {
    let with_more = builder.keys.iter().filter(|(_, claimed)| claimed.more);
    let with_more = with_more.map(|(key, claimed)| (claimed.last_seq, key.clone()));
    let mut keys: Vec<(i64, Key)> = with_more.collect();
    keys.sort_unstable();
    let mut share = room.share;
    while !keys.is_empty() && !builder.is_full(room) {
        share = share.saturating_add(room.share);
        let mut rest = Vec::new();
        for (first, key) in keys {
            let Some(mut claimed) = builder.keys.remove(&key) else {
                continue;
            };
            let before = claimed.taken;
            builder.extend(&key, &mut claimed, None, Room { share, ..room })?;
            if claimed.more && claimed.taken > before {
                rest.push((first, key.clone()));
            }
            if claimed.taken > before {
                builder.claim_key(&key, &claimed)?;
            }
            builder.keys.insert(key, claimed);
        }
        keys = rest;
    }
    Ok(())
}
