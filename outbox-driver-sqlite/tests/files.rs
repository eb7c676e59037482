//! The file under a connection: closed, replaced, removed, grown.
#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test may panic as the test itself"
)]

use outbox_core::{ErrorKind, OutboxError};
use outbox_driver_sqlite::rusqlite::Connection;
use outbox_driver_sqlite::{Driver, SqliteConfig, sqlite_error};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

#[allow(clippy::unnecessary_wraps, reason = "as the driver asks for it")]
fn any(_: &Connection) -> Result<(), OutboxError> {
    Ok(())
}

fn beside(path: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", path.display()))
}

async fn opened(path: &Path) -> Driver {
    Driver::create(path, any).await.unwrap()
}

async fn run(driver: &Driver, sql: &'static str) -> Result<(), OutboxError> {
    let run =
        move |connection: &Connection| connection.execute_batch(sql).map_err(sqlite_error("write"));
    driver.write("write", run).await
}

async fn look(driver: &Driver) -> Result<i64, OutboxError> {
    let look = |connection: &Connection| {
        connection
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .map_err(sqlite_error("look"))
    };
    driver.read("look", look).await
}

fn rows(path: &Path) -> i64 {
    let connection = Connection::open(path).unwrap();
    connection
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap()
}

/// A file with one row, which is only in its write-ahead log.
async fn with_a_row(path: &Path) -> Driver {
    let driver = opened(path).await;
    run(&driver, "CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    driver
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, OutboxError>, reason: &str) {
    let error = result.unwrap_err();
    let report = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{report}");
    assert!(report.contains(reason), "{report}");
}

#[tokio::test]
async fn closing_moves_all_data_into_the_file_and_refuses_further_calls() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.db");
    let driver = with_a_row(&path).await;
    let clone = driver.clone();
    let queued = run(&clone, "INSERT INTO t VALUES (2)");
    let (queued, closed) = tokio::join!(queued, driver.close());
    queued.unwrap();
    closed.unwrap();
    assert!(!beside(&path, "-wal").exists());
    let copy = folder.path().join("copy.db");
    fs::copy(&path, &copy).unwrap();
    assert_eq!(rows(&copy), 2);
    refused(look(&clone).await, "closed");
    clone.close().await.unwrap();
}

#[tokio::test]
async fn closing_moves_all_data_into_the_file_while_another_connection_is_open() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.db");
    let (driver, _other) = (with_a_row(&path).await, opened(&path).await);
    driver.close().await.unwrap();
    let copy = folder.path().join("copy.db");
    fs::copy(&path, &copy).unwrap();
    assert_eq!(rows(&copy), 1);
}

#[tokio::test]
async fn the_last_handle_that_is_dropped_closes_the_connection() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.db");
    let driver = with_a_row(&path).await;
    let clone = driver.clone();
    drop(driver);
    assert!(beside(&path, "-wal").exists());
    drop(clone);
    assert!(!beside(&path, "-wal").exists());
}

#[tokio::test]
async fn the_connection_thread_can_drop_the_last_handle() {
    let folder = TempDir::new().unwrap();
    let driver = with_a_row(&folder.path().join("t.db")).await;
    let own = driver.clone();
    let (dropped, done) = std::sync::mpsc::channel();
    let write = driver.write("write", move |_| {
        drop(own);
        dropped.send(()).ok();
        Ok(())
    });
    let mut write = Box::pin(write);
    // The first poll queues the job. Then the caller is dropped.
    let first = std::future::poll_fn(|context| {
        std::task::Poll::Ready(write.as_mut().poll(context).is_pending())
    });
    let start = Instant::now();
    if first.await {
        done.recv().unwrap();
    }
    drop(write);
    drop(driver);
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_replaced_file_is_refused_and_the_new_one_is_not_changed() {
    let folder = TempDir::new().unwrap();
    let (path, backup) = (folder.path().join("t.db"), folder.path().join("backup.db"));
    drop(with_a_row(&backup).await);
    let driver = with_a_row(&path).await;
    run(&driver, "INSERT INTO t VALUES (2)").await.unwrap();
    let aside = folder.path().join("aside.db");
    fs::rename(&path, &aside).unwrap();
    for end in ["-wal", "-shm"] {
        fs::rename(beside(&path, end), beside(&aside, end)).unwrap();
    }
    fs::rename(&backup, &path).unwrap();
    let application = Connection::open(&path).unwrap();
    let more = "INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)";
    application.execute_batch(more).unwrap();
    refused(look(&driver).await, "replaced");
    refused(run(&driver, "INSERT INTO t VALUES (9)").await, "replaced");
    drop(driver);
    assert!(beside(&path, "-wal").exists(), "of the other file");
    assert_eq!((rows(&path), rows(&aside)), (3, 2));
}

#[tokio::test]
async fn a_removed_or_renamed_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.db");
    let driver = with_a_row(&path).await;
    let renamed = folder.path().join("renamed.db");
    fs::rename(&path, &renamed).unwrap();
    refused(look(&driver).await, "removed or renamed");
    fs::rename(&renamed, &path).unwrap();
    assert_eq!(look(&driver).await.unwrap(), 1, "it is back");
    fs::remove_file(&path).unwrap();
    let write = run(&driver, "INSERT INTO t VALUES (9)").await;
    refused(write, "removed or renamed");
}

#[cfg(unix)]
#[tokio::test]
async fn a_symbolic_link_to_another_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let (one, two) = (folder.path().join("one.db"), folder.path().join("two.db"));
    drop((with_a_row(&one).await, with_a_row(&two).await));
    let link = folder.path().join("current.db");
    std::os::unix::fs::symlink(&one, &link).unwrap();
    let driver = opened(&link).await;
    run(&driver, "INSERT INTO t VALUES (2)").await.unwrap();
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&two, &link).unwrap();
    refused(look(&driver).await, "replaced");
    drop(driver);
    assert_eq!((rows(&one), rows(&two)), (2, 1));
}

#[tokio::test]
async fn a_removed_write_ahead_log_is_refused_and_loses_nothing() {
    for gone in [&["-wal", "-shm"][..], &["-wal"], &["-shm"]] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("t.db");
        let driver = with_a_row(&path).await;
        for end in gone {
            fs::remove_file(beside(&path, end)).unwrap();
        }
        refused(look(&driver).await, "was removed");
        drop(driver);
        assert_eq!(rows(&path), 1, "{gone:?}");
    }
}

/// A connection that closes removes the log by its name, also if it belongs to another program.
#[tokio::test]
async fn a_write_ahead_log_of_another_program_is_refused_and_kept() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.db");
    let driver = with_a_row(&path).await;
    let log = beside(&path, "-wal");
    fs::remove_file(&log).unwrap();
    fs::write(&log, "of another program").unwrap();
    refused(look(&driver).await, "was replaced");
    drop(driver);
    assert_eq!(fs::read(&log).unwrap(), b"of another program");
}

#[tokio::test]
async fn a_write_ahead_log_that_grew_under_a_long_reader_shrinks_afterwards() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.db");
    let driver = with_a_row(&path).await;
    let reader = Connection::open(&path).unwrap();
    let begin = "BEGIN; SELECT count(*) FROM t";
    reader.execute_batch(begin).unwrap();
    let size = || fs::metadata(beside(&path, "-wal")).unwrap().len();
    while size() < 20_000_000 {
        let write = "UPDATE t SET x = randomblob(1000000)";
        run(&driver, write).await.unwrap();
    }
    drop(reader);
    let end = Instant::now() + Duration::from_secs(60);
    while size() > 8 * 1024 * 1024 {
        assert!(Instant::now() < end, "{} bytes", size());
        look(&driver).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_read_ends_at_its_timeout_and_the_next_call_is_served() {
    let folder = TempDir::new().unwrap();
    let config = SqliteConfig::new(folder.path().join("t.db"));
    let config = config.call_timeout(Duration::from_millis(300));
    let driver = Driver::create(config, any).await.unwrap();
    run(&driver, "CREATE TABLE t (x)").await.unwrap();
    let endless = |connection: &Connection| {
        let count = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)
                     SELECT count(*) FROM n";
        connection
            .query_row(count, [], |row| row.get::<_, i64>(0))
            .map_err(sqlite_error("look"))
    };
    let error = driver.read("look", endless).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(!error.to_string().contains("applied"), "{error}");
    let end = Instant::now() + Duration::from_secs(60);
    while look(&driver).await.is_err() {
        assert!(Instant::now() < end, "the thread is still busy");
    }
    run(&driver, "INSERT INTO t VALUES (1)").await.unwrap();
    assert_eq!(look(&driver).await.unwrap(), 1);
}
