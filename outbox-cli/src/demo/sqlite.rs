//! The shop in a SQLite file.

use super::shop::{COUNT_ROWS, End, Order, Place, Shop};
use crate::failure::Failure;
use async_trait::async_trait;
use outbox_core::Event;
use outbox_store_sqlite::append;
use outbox_store_sqlite::rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::block_in_place;

/// Marks the file as the demo's ("obxd"), so that no other file is ever replaced.
const APPLICATION_ID: i32 = 0x6f62_7864;

const TABLES: &str = "
    CREATE TABLE orders (
        id INTEGER PRIMARY KEY, customer INTEGER NOT NULL, ordered_at TEXT NOT NULL
    ) STRICT;
    CREATE TABLE order_lines (
        order_id INTEGER NOT NULL REFERENCES orders, track INTEGER NOT NULL, title TEXT NOT NULL,
        quantity INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE payments (order_id INTEGER PRIMARY KEY REFERENCES orders, amount REAL NOT NULL)
        STRICT;";

struct SqliteShop(Connection);

/// Makes the shop in the folder; removes the one of an earlier run.
pub(super) fn afresh(folder: &Path) -> Result<Place, Failure> {
    let path = free(folder)?;
    let connection = Connection::open(&path)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.execute_batch(TABLES)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.execute_batch("PRAGMA foreign_keys = ON")?;
    let url = format!("sqlite:{}", path.display());
    Ok(Place {
        shop: Box::new(SqliteShop(connection)),
        shown: url.clone(),
        hides_password: false,
        url,
        name: path.display().to_string(),
    })
}

/// The path of the shop's file, where nothing is any more.
fn free(folder: &Path) -> Result<PathBuf, Failure> {
    let refuse = |path: &Path, why: &dyn std::fmt::Display| {
        Failure::Input(format!("cannot use {}: {why}", path.display()))
    };
    fs::create_dir_all(folder).map_err(|error| refuse(folder, &error))?;
    let path = folder.join("shop.db");
    if path.exists() {
        let ours = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .and_then(|file| file.pragma_query_value(None, "application_id", |row| row.get(0)))
            .is_ok_and(|id: i32| id == APPLICATION_ID);
        if !ours {
            return Err(refuse(
                &path,
                &"it is not of this demo; move it, or pass --dir",
            ));
        }
        for suffix in ["", "-wal", "-shm"] {
            let file = folder.join(format!("shop.db{suffix}"));
            if file.exists() {
                fs::remove_file(&file).map_err(|error| refuse(&file, &error))?;
            }
        }
    }
    Ok(path)
}

#[async_trait]
impl Shop for SqliteShop {
    async fn write(&mut self, order: &Order, events: &[Event], end: End) -> Result<(), Failure> {
        block_in_place(|| write(&mut self.0, order, events, end))
    }

    async fn count_rows(&mut self) -> Result<i64, Failure> {
        block_in_place(|| Ok(self.0.query_row(COUNT_ROWS, [], |row| row.get(0))?))
    }
}

fn write(
    connection: &mut Connection,
    order: &Order,
    events: &[Event],
    end: End,
) -> Result<(), Failure> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute(
        "INSERT INTO orders VALUES (?1, ?2, ?3)",
        (order.order_id, order.customer_id, &order.ordered_at),
    )?;
    for line in &order.lines {
        tx.execute(
            "INSERT INTO order_lines VALUES (?1, ?2, ?3, ?4)",
            (order.order_id, line.track_id, &line.title, line.quantity),
        )?;
    }
    tx.execute(
        "INSERT INTO payments VALUES (?1, ?2)",
        (order.order_id, order.total),
    )?;
    append(&tx, events)?;
    match end {
        End::Commit => tx.commit()?,
        End::Rollback => tx.rollback()?,
    }
    Ok(())
}
