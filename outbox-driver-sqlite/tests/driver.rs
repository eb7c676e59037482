//! Group commit, bad files, locks and migrations.

use outbox_core::{ErrorKind, OutboxError};
use outbox_driver_sqlite::rusqlite::Connection;
use outbox_driver_sqlite::{
    Driver, DriverOptions, applied_migrations, inspect, memory_uri, migrate, require_version,
    sqlite_error,
};
use std::fs;
use std::sync::{Arc, Barrier};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;

const TABLE: &str = "CREATE TABLE t (x INTEGER UNIQUE) STRICT";

fn insert(x: i64) -> impl FnOnce(&Connection) -> Result<(), OutboxError> + Send + 'static {
    move |connection| {
        connection
            .execute("INSERT INTO t VALUES (?1)", [x])
            .map_err(sqlite_error("insert"))?;
        Ok(())
    }
}

/// Accepts any file.
#[allow(clippy::unnecessary_wraps, reason = "as the driver asks for it")]
fn any(_: &Connection) -> Result<(), OutboxError> {
    Ok(())
}

async fn count(driver: &Driver) -> i64 {
    driver
        .read("count", |connection| {
            connection
                .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
                .map_err(sqlite_error("count"))
        })
        .await
        .expect("counted")
}

async fn with_table(folder: &TempDir, options: DriverOptions) -> Driver {
    let driver = Driver::create(folder.path().join("t.db"), options, any)
        .await
        .expect("created");
    driver
        .write("table", |connection| {
            connection
                .execute_batch(TABLE)
                .map_err(sqlite_error("table"))
        })
        .await
        .expect("a table");
    driver
}

#[tokio::test]
async fn a_failing_write_undoes_nothing_of_its_neighbours() {
    let folder = TempDir::new().unwrap();
    let driver = with_table(&folder, DriverOptions::default()).await;
    // The first job holds the thread until all others wait behind it, so that they form a group.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let holder = driver.clone();
    let first = tokio::spawn(async move {
        holder
            .write("hold", move |_| wait.recv().map_err(|_| unreachable!()))
            .await
    });
    let mut writes = Vec::new();
    for x in 0..20 {
        let driver = driver.clone();
        writes.push(tokio::spawn(async move {
            driver
                .write("write", move |connection| {
                    insert(x)(connection)?;
                    match x % 5 {
                        0 => Err(OutboxError::new(ErrorKind::Invalid, "test", "fail")),
                        1 => panic!("this one panics"),
                        _ => Ok(()),
                    }
                })
                .await
        }));
    }
    tokio::task::yield_now().await;
    go.send(()).unwrap();
    first.await.unwrap().unwrap();
    let mut kept = 0;
    for write in writes {
        kept += i64::from(write.await.unwrap().is_ok());
    }
    assert_eq!(kept, 12);
    assert_eq!(count(&driver).await, 12);
}

#[tokio::test]
async fn a_write_that_ends_the_shared_transaction_takes_its_neighbours_with_it_and_they_are_told() {
    let folder = TempDir::new().unwrap();
    let driver = with_table(&folder, DriverOptions::default()).await;
    driver.write("insert", insert(1)).await.unwrap();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let holder = driver.clone();
    let first = tokio::spawn(async move {
        let hold = move |connection: &Connection| {
            wait.recv().ok();
            insert(2)(connection)
        };
        holder.write("hold", hold).await
    });
    let mut writes = Vec::new();
    for x in 3..10 {
        let driver = driver.clone();
        writes.push(tokio::spawn(async move {
            // The fifth violates the constraint and rolls all of the transaction back.
            let sql = "INSERT OR ROLLBACK INTO t VALUES (?1)";
            let write = move |connection: &Connection| {
                let x = if x == 5 { 1 } else { x };
                connection
                    .execute(sql, [x])
                    .map_err(sqlite_error("insert"))?;
                Ok(())
            };
            driver.write("write", write).await
        }));
    }
    tokio::task::yield_now().await;
    go.send(()).unwrap();
    let mut answered = 1 + i64::from(first.await.unwrap().is_ok());
    for write in writes {
        match write.await.unwrap() {
            Ok(()) => answered += 1,
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Conflict),
                "{}",
                error.to_string()
            ),
        }
    }
    assert_eq!(
        count(&driver).await,
        answered,
        "stored, but not what was answered"
    );
}

#[tokio::test]
async fn writes_that_wait_for_a_lock_wait_together() {
    let folder = TempDir::new().unwrap();
    let options = DriverOptions::default().busy_timeout(Duration::from_millis(200));
    let driver = with_table(&folder, options).await;
    let other = Connection::open(folder.path().join("t.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let writes = (0..30).map(|x| {
        let driver = driver.clone();
        tokio::spawn(async move { driver.write("insert", insert(x)).await })
    });
    let mut writes: Vec<_> = writes.collect();
    assert!(
        writes.remove(0).await.unwrap().is_err(),
        "written under another's lock"
    );
    // The lock is free again, but those that waited beside the first have failed with it.
    other.execute_batch("COMMIT").unwrap();
    for write in writes {
        let error = write.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    assert_eq!(count(&driver).await, 0);
}

#[tokio::test]
async fn a_write_whose_caller_is_gone_before_its_turn_is_not_done() {
    let folder = TempDir::new().unwrap();
    let driver = with_table(&folder, DriverOptions::default()).await;
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (started, start) = oneshot::channel();
    let holder = driver.clone();
    let first = tokio::spawn(async move {
        holder
            .write("hold", move |_| {
                started.send(()).ok();
                wait.recv().ok();
                Ok(())
            })
            .await
    });
    start.await.unwrap();
    let mut dropped = Box::pin(driver.write("late", insert(1)));
    assert!(
        futures_poll(&mut dropped).await.is_none(),
        "it ran before its turn"
    );
    drop(dropped);
    go.send(()).unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(count(&driver).await, 0);
}

/// Polls once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = async {} => None,
    }
}

#[tokio::test]
async fn a_lock_held_too_long_is_unavailable_and_passes() {
    let folder = TempDir::new().unwrap();
    let options = DriverOptions::default().busy_timeout(Duration::from_millis(20));
    let driver = with_table(&folder, options).await;
    let other = Connection::open(folder.path().join("t.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = driver.write("insert", insert(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(
        count(&driver).await,
        0,
        "a reader does not wait for a writer"
    );
    other.execute_batch("COMMIT").unwrap();
    driver.write("insert", insert(1)).await.unwrap();
    assert_eq!(count(&driver).await, 1);
}

#[tokio::test]
async fn two_connections_that_write_at_once_lose_nothing() {
    let folder = TempDir::new().unwrap();
    let first = with_table(&folder, DriverOptions::default()).await;
    let path = folder.path().join("t.db");
    let second = Driver::open(&path, DriverOptions::default(), any)
        .await
        .unwrap();
    let mut writes = Vec::new();
    for x in 0..200 {
        let driver = if x % 2 == 0 {
            first.clone()
        } else {
            second.clone()
        };
        writes.push(tokio::spawn(async move {
            driver.write("insert", insert(x)).await
        }));
    }
    for write in writes {
        write.await.unwrap().unwrap();
    }
    assert_eq!(count(&first).await, 200);
}

#[tokio::test]
async fn each_bad_file_is_named_with_its_reason() {
    let folder = TempDir::new().unwrap();
    let text = folder.path().join("notes.txt");
    fs::write(
        &text,
        "these are notes and no database at all, and more than a few of them",
    )
    .unwrap();
    let cases = [
        (folder.path().join("missing.db"), "does not exist"),
        (folder.path().join("no/folder.db"), "does not exist"),
        (folder.path().to_owned(), "folder"),
        (text, "not a SQLite file"),
    ];
    for (path, reason) in cases {
        let error = Driver::open(&path, DriverOptions::default(), any)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let report = error.to_string();
        assert!(
            report.contains(&*path.to_string_lossy()) && report.contains(reason),
            "{report}"
        );
    }
}

#[tokio::test]
async fn handles_of_one_name_share_a_database_in_memory_and_others_do_not() {
    let open = |name: &str| Driver::open_in_memory(name.to_owned(), DriverOptions::default());
    let (one, two) = (open("shared").await.unwrap(), open("shared").await.unwrap());
    let table = |connection: &Connection| {
        let made = connection.execute_batch(TABLE);
        made.map_err(sqlite_error("table"))
    };
    one.write("table", table).await.unwrap();
    two.write("insert", insert(1)).await.unwrap();
    let own = Connection::open(memory_uri("shared").unwrap()).unwrap();
    own.execute("INSERT INTO t VALUES (2)", []).unwrap();
    assert_eq!((count(&one).await, count(&two).await), (2, 2));
    let other = open("shared-2").await.unwrap();
    other.write("table", table).await.unwrap();
    assert_eq!(count(&other).await, 0);
    for name in ["", "a/b", "a?vfs=unix", "ü", &"x".repeat(101)] {
        let error = open(name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(
            error.to_string().contains("ASCII letters"),
            "{}",
            error.to_string()
        );
    }
}

#[tokio::test]
async fn a_file_that_is_refused_or_inspected_is_not_changed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("theirs.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(TABLE).unwrap();
    drop(connection);
    let before = fs::read(&path).unwrap();

    let applied = |connection: &Connection| {
        applied_migrations(connection, "test", &["t"], &[TABLE]).map(drop)
    };
    let options = DriverOptions::default;
    for error in [
        Driver::open(&path, options(), applied).await.unwrap_err(),
        Driver::create(&path, options(), applied).await.unwrap_err(),
        inspect(&path, applied).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(
            error.to_string().contains("not ours"),
            "{}",
            error.to_string()
        );
    }
    let rows = |connection: &Connection| applied_migrations(connection, "other", &["u"], &[TABLE]);
    assert_eq!(inspect(&path, rows).unwrap(), Some(0));
    assert_eq!(fs::read(&path).unwrap(), before);

    let missing = folder.path().join("missing.db");
    assert_eq!(inspect(&missing, rows).unwrap(), None);
    assert!(!missing.exists());
}

#[test]
fn migrations_of_many_processes_at_once_are_applied_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("m.db");
    let barrier = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (path, barrier) = (path.clone(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let mut connection = Connection::open(path).unwrap();
                connection.busy_timeout(Duration::from_secs(10)).unwrap();
                barrier.wait();
                migrate(
                    &mut connection,
                    "test",
                    &["t"],
                    &[TABLE, "CREATE TABLE u (x)"],
                )
                .unwrap()
            })
        })
        .collect();
    let applied: usize = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert_eq!(applied, 2);
}

#[test]
fn a_schema_that_is_missing_foreign_older_or_newer_is_refused() {
    let mut connection = Connection::open_in_memory().unwrap();
    let refused = |result: Result<(), OutboxError>, reason: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(reason), "{}", error.to_string());
    };
    refused(require_version(&connection, "test", 1), "outbox migrate");
    connection.execute_batch(TABLE).unwrap();
    let foreign = migrate(&mut connection, "test", &["t"], &[TABLE]).map(drop);
    refused(foreign, "named t exists that is not ours");

    migrate(
        &mut connection,
        "test",
        &["u"],
        &["CREATE TABLE u (x)", "CREATE TABLE v (x)"],
    )
    .unwrap();
    require_version(&connection, "test", 2).unwrap();
    refused(
        require_version(&connection, "test", 3),
        "run `outbox migrate`",
    );
    refused(require_version(&connection, "test", 1), "newer program");
    let newer = migrate(&mut connection, "test", &["u"], &["CREATE TABLE u (x)"]).map(drop);
    refused(newer, "newer program");
}

#[test]
fn tables_whose_version_was_deleted_are_recognised() {
    let mut connection = Connection::open_in_memory().unwrap();
    let migrations = ["CREATE TABLE u (x)", "CREATE TABLE v (x)"];
    migrate(&mut connection, "test", &["u", "v"], &migrations).unwrap();
    connection
        .execute_batch("INSERT INTO u VALUES (1); DELETE FROM outbox_schema")
        .unwrap();
    let applied = migrate(&mut connection, "test", &["u", "v"], &migrations).unwrap();
    assert_eq!(applied, 0);
    require_version(&connection, "test", 2).unwrap();
    connection
        .execute_batch("DELETE FROM outbox_schema; DROP TABLE v; CREATE TABLE v (y)")
        .unwrap();
    let error = migrate(&mut connection, "test", &["u", "v"], &migrations).unwrap_err();
    assert!(
        error.to_string().contains("not ours"),
        "{}",
        error.to_string()
    );
}
