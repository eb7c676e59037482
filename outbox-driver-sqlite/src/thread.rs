//! The connection thread: writes that wait at the same time share a commit.

use crate::error::kind;
use crate::job::{Access, Failure, Job};
use outbox_core::ErrorKind;
use rusqlite::Connection;
use std::sync::mpsc::Receiver;

/// The most writes that share a commit.
const GROUP: usize = 64;

/// Serves jobs until the last handle is gone.
pub(crate) fn run(connection: &Connection, queue: &Receiver<Box<dyn Job>>) {
    let mut next = queue.recv().ok();
    while let Some(job) = next.take() {
        match job.access() {
            Access::Read => read(connection, job),
            Access::Write => next = write_group(connection, job, queue),
        }
        if next.is_none() {
            next = queue.recv().ok();
        }
    }
}

fn read(connection: &Connection, mut job: Box<dyn Job>) {
    if job.is_abandoned() {
        return;
    }
    let begun = connection
        .execute_batch("BEGIN DEFERRED")
        .and_then(|()| connection.pragma_update(None, "query_only", true));
    let failure = begun.map_err(|error| failure(&error)).err();
    if failure.is_none() {
        job.run(connection);
    }
    end(connection);
    let _ = connection.pragma_update(None, "query_only", false);
    job.answer(failure.as_ref());
}

/// Runs a write and those that wait behind it in one transaction; gives back a read that waits.
///
/// IMMEDIATE, because a transaction that begins with a read and then writes is refused at once
/// when another process wrote in between, without waiting for the busy timeout.
fn write_group(
    connection: &Connection,
    first: Box<dyn Job>,
    queue: &Receiver<Box<dyn Job>>,
) -> Option<Box<dyn Job>> {
    if first.is_abandoned() {
        return None;
    }
    let mut ended = connection
        .execute_batch("BEGIN IMMEDIATE")
        .map_err(|error| failure(&error));
    let mut group = Vec::new();
    let mut next = Some(first);
    let mut after = None;
    while let Some(mut job) = next.take() {
        // After a failure no further job may run: outside the transaction it would commit alone.
        if ended.is_ok() {
            ended = write_one(connection, &mut *job);
        }
        group.push(job);
        while group.len() < GROUP && next.is_none() && after.is_none() {
            match queue.try_recv() {
                Ok(job) if job.is_abandoned() => {}
                Ok(job) if job.access() == Access::Write => next = Some(job),
                Ok(job) => after = Some(job),
                Err(_) => break,
            }
        }
    }
    let committed = ended.and_then(|()| {
        connection
            .execute_batch("COMMIT")
            .map_err(|error| failure(&error))
    });
    end(connection);
    for job in group {
        job.answer(committed.as_ref().err());
    }
    after
}

/// Runs one write in a savepoint, so that undoing it leaves its neighbours as they are. Fails if
/// the transaction has ended: SQLite rolls all of it back when the disk is full, for example.
fn write_one(connection: &Connection, job: &mut dyn Job) -> Result<(), Failure> {
    let mut run = |connection: &Connection| {
        connection.execute_batch("SAVEPOINT one")?;
        let keep = job.run(connection);
        if connection.is_autocommit() {
            return Ok(false);
        }
        if !keep {
            connection.execute_batch("ROLLBACK TO one")?;
        }
        connection.execute_batch("RELEASE one")?;
        Ok(true)
    };
    match run(connection) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure {
            kind: ErrorKind::Unavailable,
            text: "a write that shared the transaction ended it; nothing was applied".to_owned(),
        }),
        Err(error) => Err(failure(&error)),
    }
}

/// Leaves no transaction open, whatever happened in it.
fn end(connection: &Connection) {
    if !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
}

fn failure(error: &rusqlite::Error) -> Failure {
    Failure {
        kind: kind(error),
        text: error.to_string(),
    }
}
