//! The rows of the open claims.
//!
//! A fresh key of a claim has no row in `outbox_keys`: the claim itself has its keys. So an event that is
//! published at once writes no further row. The key gets a row when another claim meets one of its later
//! events, when an event of it stays, and when the lease ends.

use crate::row::Key;
use crate::steps::{History, run};
use outbox_core::ClaimToken;
use rusqlite::{Connection, OptionalExtension, Result, Row};
use std::collections::HashMap;
use uuid::Uuid;

/// The events of a claim: the id and the row number of each.
pub(crate) type Claimed = HashMap<Uuid, i64>;

/// The keys of a claim without a row, with the row number of the last event of each.
pub(crate) type FreshKeys = HashMap<Key, i64>;

/// A claim that is settled.
pub(crate) struct OpenClaim {
    pub(crate) events: Claimed,
    pub(crate) keys: FreshKeys,
}

/// What the open claims have.
#[derive(Default)]
pub(crate) struct InFlight {
    /// The row numbers of their events, and when the lease of each ends.
    pub(crate) events: HashMap<i64, i64>,
    /// Their keys without a row, with the claim and the last event of each.
    pub(crate) keys: HashMap<Key, (ClaimToken, i64)>,
}

/// S4: the claim, unless it was taken over or settled.
pub(crate) fn find(connection: &Connection, token: ClaimToken) -> Result<Option<OpenClaim>> {
    connection
        .prepare_cached(include_str!("sql/find_claim.sql"))?
        .query_row([token.as_uuid().as_bytes()], |row| open_claim(row, 0))
        .optional()
}

/// S7: the claims whose lease has ended at `now`.
pub(crate) fn expired(connection: &Connection, now: i64) -> Result<Vec<(ClaimToken, OpenClaim)>> {
    connection
        .prepare_cached(include_str!("sql/expired_claims.sql"))?
        .query_map([now], |row| Ok((token(row, 0)?, open_claim(row, 1)?)))?
        .collect()
}

pub(crate) fn in_flight(connection: &Connection) -> Result<InFlight> {
    let mut statement = connection.prepare_cached(include_str!("sql/open_claims.sql"))?;
    let mut rows = statement.query([])?;
    let mut all = InFlight::default();
    while let Some(row) = rows.next()? {
        let (token, until) = (token(row, 0)?, row.get(1)?);
        let events = events(row.get_ref(2)?.as_blob()?);
        all.events.extend(events.map(|(_, seq)| (seq, until)));
        let keys = keys(row.get_ref(3)?.as_blob()?);
        all.keys
            .extend(keys.map(|(key, last)| (key, (token, last))));
    }
    Ok(all)
}

/// S3: the key belongs to the claim with its events up to `last_seq`.
pub(crate) fn claim_key(
    connection: &Connection,
    token: ClaimToken,
    key: &Key,
    last_seq: i64,
    now: i64,
    history: History,
) -> Result<()> {
    run(
        connection,
        include_str!("sql/claim_key.sql"),
        (
            key,
            token.as_uuid().as_bytes(),
            last_seq,
            now,
            history.attempts,
            history.worker_lost,
        ),
    )?;
    Ok(())
}

/// The events as the column `events` of `outbox_claims` stores them.
pub(crate) fn event_bytes(events: impl Iterator<Item = (Uuid, i64)>) -> Vec<u8> {
    events
        .flat_map(|(id, seq)| {
            let mut bytes = [0; 24];
            bytes[..16].copy_from_slice(id.as_bytes());
            bytes[16..].copy_from_slice(&seq.to_be_bytes());
            bytes
        })
        .collect()
}

/// The keys as the column `keys` of `outbox_claims` stores them: for each the row number of its last event
/// in 8 bytes, the length of the key in 4, and the key. An event without an ordering key needs none.
pub(crate) fn key_bytes<'k>(keys: impl Iterator<Item = (&'k Key, i64)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, last_seq) in keys {
        let Key::Ordering(key) = key else { continue };
        let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&last_seq.to_be_bytes());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(key);
    }
    bytes
}

fn open_claim(row: &Row<'_>, first: usize) -> Result<OpenClaim> {
    Ok(OpenClaim {
        events: events(row.get_ref(first)?.as_blob()?).collect(),
        keys: keys(row.get_ref(first + 1)?.as_blob()?).collect(),
    })
}

fn token(row: &Row<'_>, index: usize) -> Result<ClaimToken> {
    row.get(index).map(|bytes| Uuid::from_bytes(bytes).into())
}

fn events(bytes: &[u8]) -> impl Iterator<Item = (Uuid, i64)> {
    let (events, _) = bytes.as_chunks::<24>();
    events.iter().map(|bytes| {
        let (mut id, mut seq) = ([0; 16], [0; 8]);
        id.copy_from_slice(&bytes[..16]);
        seq.copy_from_slice(&bytes[16..]);
        (Uuid::from_bytes(id), i64::from_be_bytes(seq))
    })
}

/// Ends early if the bytes were changed by hand.
fn keys(mut bytes: &[u8]) -> impl Iterator<Item = (Key, i64)> {
    std::iter::from_fn(move || {
        let (last_seq, rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (key, rest) = rest.split_at_checked(length)?;
        bytes = rest;
        Some((Key::Ordering(key.to_vec()), i64::from_be_bytes(*last_seq)))
    })
}
