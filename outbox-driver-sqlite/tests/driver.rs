//! Group commit, bad files, locks and migrations.

use outbox_core::{ErrorKind, OutboxError};
use outbox_driver_sqlite::rusqlite::{
    self, Connection, StatementStatus, Transaction, TransactionBehavior,
};
use outbox_driver_sqlite::{Changes, Component, Driver, SqliteConfig, memory_uri, sqlite_error};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::sync::{Barrier, oneshot};

const TABLE: &str = "CREATE TABLE t (x INTEGER UNIQUE) STRICT;";

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

fn config(folder: &TempDir) -> SqliteConfig {
    SqliteConfig::new(folder.path().join("t.db"))
}

async fn with_table(config: SqliteConfig) -> Driver {
    let driver = Driver::create(config, any).await.expect("created");
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
async fn a_failing_write_in_a_shared_transaction_undoes_only_itself() {
    let folder = TempDir::new().unwrap();
    let driver = with_table(config(&folder)).await;
    // The first job blocks the thread until all others are queued, so that they form a group.
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
async fn only_an_unsynced_write_to_a_file_does_not_wait_for_the_disk() {
    let level = |connection: &Connection| {
        let level = connection.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0));
        level.map_err(sqlite_error("level"))
    };
    let folder = TempDir::new().unwrap();
    for (config, unsynced) in [(config(&folder), 1), (SqliteConfig::in_memory("level"), 2)] {
        let driver = with_table(config).await;
        for _ in 0..2 {
            assert_eq!(
                driver.write_unsynced("level", level).await.unwrap(),
                unsynced
            );
            assert_eq!(driver.write("level", level).await.unwrap(), 2);
        }
    }
}

#[tokio::test]
async fn a_statement_is_prepared_once_also_after_reads() {
    let folder = TempDir::new().unwrap();
    let driver = with_table(config(&folder)).await;
    let index = "CREATE TABLE u (n INTEGER PRIMARY KEY, x TEXT, y INTEGER) STRICT;
        CREATE INDEX i ON u (x, n) WHERE x IS NOT NULL; CREATE INDEX j ON u (x, n) WHERE y = 1";
    let create = |connection: &Connection| connection.execute_batch(index);
    driver.execute("index", create).await.unwrap();
    for x in 0..5 {
        driver.write("insert", insert(x)).await.unwrap();
        let find = move |connection: &Connection| {
            let sql = "SELECT (SELECT n FROM u WHERE x = ?1 AND n <= ?2 ORDER BY n LIMIT 1),
                (SELECT n FROM u WHERE x = ?1 AND y = 1 ORDER BY n LIMIT 1)";
            let mut find = connection.prepare_cached(sql)?;
            find.query_row((x.to_string(), x), |row| row.get::<_, Option<i64>>(0))?;
            Ok(find.get_status(StatementStatus::RePrepare))
        };
        assert_eq!(driver.fetch("find", find).await.unwrap(), 0, "after {x}");
    }
}

#[tokio::test]
async fn a_write_that_ends_the_shared_transaction_fails_all_its_writes() {
    let folder = TempDir::new().unwrap();
    let driver = with_table(config(&folder)).await;
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
            // The fifth violates the constraint and rolls back the whole transaction.
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
                "{error}"
            ),
        }
    }
    assert_eq!(
        count(&driver).await,
        answered,
        "the stored rows differ from the confirmed ones"
    );
}

#[tokio::test]
async fn writes_waiting_for_a_lock_fail_together() {
    let folder = TempDir::new().unwrap();
    let config = config(&folder).busy_timeout(Duration::from_millis(200));
    let driver = with_table(config).await;
    let other = Connection::open(folder.path().join("t.db")).unwrap();
    let lock = Transaction::new_unchecked(&other, TransactionBehavior::Immediate).unwrap();
    let writes = (0..30).map(|x| {
        let driver = driver.clone();
        tokio::spawn(async move { driver.write("insert", insert(x)).await })
    });
    let mut writes: Vec<_> = writes.collect();
    assert!(
        writes.remove(0).await.unwrap().is_err(),
        "written while another connection had the lock"
    );
    // The lock is free again, but the writes that shared the transaction have failed with the first.
    lock.commit().unwrap();
    for write in writes {
        let error = write.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let mut cause = error.source();
        while let Some(next) = cause.filter(|cause| !cause.is::<rusqlite::Error>()) {
            cause = next.source();
        }
        assert!(cause.is_some(), "the error of SQLite is lost: {error:?}");
    }
    assert_eq!(count(&driver).await, 0);
}

#[tokio::test]
async fn a_write_cancelled_before_it_starts_is_skipped() {
    let folder = TempDir::new().unwrap();
    let driver = with_table(config(&folder)).await;
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
async fn a_write_is_unavailable_after_the_busy_timeout_and_works_later() {
    let folder = TempDir::new().unwrap();
    let config = config(&folder).busy_timeout(Duration::from_millis(20));
    let driver = with_table(config).await;
    let other = Connection::open(folder.path().join("t.db")).unwrap();
    let lock = Transaction::new_unchecked(&other, TransactionBehavior::Immediate).unwrap();
    let error = driver.write("insert", insert(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(
        count(&driver).await,
        0,
        "a reader does not wait for a writer"
    );
    lock.commit().unwrap();
    driver.write("insert", insert(1)).await.unwrap();
    assert_eq!(count(&driver).await, 1);
}

#[tokio::test]
async fn two_connections_that_write_at_once_lose_nothing() {
    let folder = TempDir::new().unwrap();
    let first = with_table(config(&folder)).await;
    let second = Driver::open(config(&folder), any).await.unwrap();
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
async fn each_invalid_file_is_named_with_its_reason() {
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
        let error = Driver::open(&path, any).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let report = error.to_string();
        assert!(
            report.contains(&*path.to_string_lossy()) && report.contains(reason),
            "{report}"
        );
    }
}

#[tokio::test]
async fn only_handles_of_one_name_share_a_database_in_memory() {
    let open = |name: &str| Driver::open(SqliteConfig::in_memory(name), any);
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
            error.to_string().contains("characters a-z, A-Z, 0-9"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_refused_or_inspected_file_is_not_changed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("theirs.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(TABLE).unwrap();
    drop(connection);
    let before = fs::read(&path).unwrap();

    for error in [
        TEST.open(&path).await.map(drop).unwrap_err(),
        TEST.migrate(&path).await.map(drop).unwrap_err(),
        TEST.applied(&path).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    let migrated = TEST.migrate(&path).await.map(drop);
    refused(migrated, "the file has a table t of another program");
    assert_eq!(OTHER.applied(&path).await.unwrap(), Some(0));
    assert_eq!(fs::read(&path).unwrap(), before);

    let missing = folder.path().join("missing.db");
    assert_eq!(OTHER.applied(&missing).await.unwrap(), None);
    assert!(!missing.exists());
}

const TEST: Component = Component {
    name: "test",
    tables: &["t"],
    migrations: &[TABLE, "CREATE TABLE u (x);"],
    min_compatible: 1,
};

const OTHER: Component = Component {
    name: "other",
    tables: &["v", "w"],
    migrations: &["CREATE TABLE v (x);", "CREATE TABLE w (x);"],
    min_compatible: 2,
};

/// The component in a program that is one migration older.
const OLDER: Component = Component {
    tables: &["v"],
    migrations: &["CREATE TABLE v (x);"],
    min_compatible: 1,
    ..OTHER
};

/// The component in a newer program whose second migration only adds.
const ADDING: Component = Component {
    min_compatible: 1,
    ..OTHER
};

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, OutboxError>, reason: &str) {
    let error = result.expect_err(reason);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains(reason), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_migrations_are_applied_once() {
    let folder = TempDir::new().unwrap();
    let barrier = Arc::new(Barrier::new(8));
    let migrations = [(); 8].map(|()| {
        let (config, barrier) = (config(&folder), Arc::clone(&barrier));
        tokio::spawn(async move {
            barrier.wait().await;
            TEST.migrate(config).await.map(drop)
        })
    });
    for migration in migrations {
        // A migration that is applied twice fails, as its table exists.
        migration.await.unwrap().unwrap();
    }
    let applied = TEST.applied(config(&folder)).await.unwrap();
    assert_eq!(applied, Some(2));
}

#[tokio::test]
async fn missing_older_and_newer_tables_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("VACUUM")
        .unwrap();
    refused(OTHER.open(&path).await, "run `outbox migrate`");
    OLDER.migrate(&path).await.unwrap();
    OLDER.open(&path).await.unwrap();
    refused(OTHER.open(&path).await, "run `outbox migrate`");
    OTHER.migrate(&path).await.unwrap();
    OTHER.open(&path).await.unwrap();
    let numbers =
        "of version 2, for programs that know version 2 or a later one, and this program knows 1";
    refused(OLDER.open(&path).await, numbers);
    refused(OLDER.migrate(&path).await, numbers);
    refused(OLDER.applied(&path).await, numbers);
}

#[tokio::test]
async fn tables_of_a_newer_version_that_only_adds_are_used() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.db");
    ADDING.migrate(&path).await.unwrap();
    let before = recorded(&path);
    assert_eq!(before, [(1, 1), (2, 1)]);
    let driver = OLDER.open(&path).await.unwrap();
    let insert = driver.execute("insert", |connection| {
        connection.execute("INSERT INTO v VALUES (1)", [])
    });
    assert_eq!(insert.await.unwrap(), 1);
    assert_eq!(OLDER.applied(&path).await.unwrap(), Some(2));
    OLDER.migrate(&path).await.unwrap();
    assert_eq!(recorded(&path), before);
    ADDING.open(&path).await.unwrap();
}

#[tokio::test]
async fn the_newest_migration_says_which_programs_are_compatible() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.db");
    OTHER.migrate(&path).await.unwrap();
    // No program that knows fewer versions is newer than the first migration.
    assert_eq!(recorded(&path), [(1, 1), (2, 2)]);
    let own = Connection::open(&path).unwrap();
    own.execute_batch("INSERT INTO outbox_migrations (component, version) VALUES ('other', 3)")
        .unwrap();
    OLDER.open(&path).await.unwrap();
    let printed = folder.path().join("printed.db");
    let script = Connection::open(&printed).unwrap();
    script.execute_batch(&OTHER.script()).unwrap();
    assert_eq!(recorded(&printed), [(1, 1), (2, 2)]);
    refused(OLDER.open(&printed).await, "newer program");
}

/// The versions that are recorded, each with the oldest one that is compatible.
fn recorded(path: &Path) -> Vec<(u32, u32)> {
    let rows = "SELECT version, min_compatible FROM outbox_migrations ORDER BY version";
    let own = Connection::open(path).expect("opened");
    let mut rows = own.prepare(rows).expect("prepared");
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.and_then(Iterator::collect).expect("read")
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_before_the_column_are_opened_and_get_it_when_they_are_migrated() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.db");
    OLDER.migrate(&path).await.unwrap();
    let own = Connection::open(&path).unwrap();
    own.execute_batch("ALTER TABLE outbox_migrations DROP COLUMN min_compatible")
        .unwrap();
    drop(own);
    // A connection that was open before would not see what another one has added.
    let has_column = || {
        let own = Connection::open(&path).unwrap();
        let found = own.column_exists(None, "outbox_migrations", "min_compatible");
        found.unwrap()
    };
    OLDER.open(&path).await.unwrap();
    assert_eq!(OTHER.applied(&path).await.unwrap(), Some(1));
    refused(OTHER.open(&path).await, "run `outbox migrate`");
    assert!(!has_column());
    let migrations = [(); 8].map(|()| {
        let path = path.clone();
        tokio::spawn(async move { OLDER.migrate(path).await.map(drop) })
    });
    for migration in migrations {
        migration.await.unwrap().unwrap();
    }
    assert!(has_column());
    assert_eq!(recorded(&path), [(1, 1)]);
    OTHER.migrate(&path).await.unwrap();
    assert_eq!(recorded(&path), [(1, 1), (2, 2)]);
}

#[tokio::test]
async fn tables_without_a_record_of_their_version_are_recognised() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.db");
    OTHER.migrate(&path).await.unwrap();
    let own = Connection::open(&path).unwrap();
    own.execute_batch("INSERT INTO v VALUES (1); DELETE FROM outbox_migrations")
        .unwrap();
    assert_eq!(OTHER.applied(&path).await.unwrap(), Some(2));
    OTHER.migrate(&path).await.unwrap();
    OTHER.open(&path).await.unwrap();
    own.execute_batch("DELETE FROM outbox_migrations; DROP TABLE w; CREATE TABLE w (y)")
        .unwrap();
    refused(OTHER.migrate(&path).await, "of another program");
}

#[tokio::test]
async fn the_script_migrates_a_connection_of_the_application() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.db");
    let own = Connection::open(&path).unwrap();
    own.execute_batch(&TEST.script()).unwrap();
    assert_eq!(TEST.applied(&path).await.unwrap(), Some(2));
    TEST.open(&path).await.unwrap();
    TEST.migrate(&path).await.unwrap();
    assert!(own.execute_batch(&TEST.script()).is_err(), "applied twice");
}

#[tokio::test]
async fn a_database_in_memory_is_migrated_and_opened_by_its_name() {
    let config = || SqliteConfig::in_memory("component");
    assert_eq!(TEST.applied(config()).await.unwrap(), Some(0));
    refused(TEST.open(config()).await, "run `outbox migrate`");
    let kept = TEST.migrate(config()).await.unwrap();
    TEST.open(config()).await.unwrap();
    assert_eq!(TEST.applied(config()).await.unwrap(), Some(2));
    drop(kept);
}

#[test]
fn a_path_in_any_form_is_a_config() {
    let text = "shop.db";
    let path = PathBuf::from(text);
    let configs: [SqliteConfig; 6] = [
        text.into(),
        text.to_owned().into(),
        (&text.to_owned()).into(),
        path.as_path().into(),
        (&path).into(),
        path.clone().into(),
    ];
    for config in configs {
        let expected = SqliteConfig::new("shop.db");
        assert_eq!(format!("{config:?}"), format!("{expected:?}"));
    }
}

#[tokio::test]
async fn a_quiet_write_is_no_change_unless_another_connection_commits() {
    let folder = TempDir::new().expect("a folder");
    let driver = with_table(config(&folder)).await;
    let other = Connection::open(folder.path().join("t.db")).expect("opened");
    let others = |x: i64| {
        let inserted = other.execute("INSERT INTO t VALUES (?1)", [x]);
        inserted.expect("inserted");
    };
    let log = folder.path().join("t.db-wal");
    let log = fs::File::options().write(true).open(log).expect("a log");
    let mut changes = driver.changes();
    // An old log is reported once.
    let mut age = 10;
    let mut looked = |changes: &mut Changes| {
        age += 1;
        let time = SystemTime::now() - Duration::from_secs(age);
        let times = fs::FileTimes::new().set_modified(time);
        log.set_times(times).expect("set");
        assert!(changes.since_last() && !changes.since_last());
    };
    let quietly = async |x| {
        let written = driver.write_quietly("quiet", insert(x)).await;
        written.expect("written");
    };

    looked(&mut changes);
    quietly(1).await;
    assert!(!changes.since_last(), "a quiet write");
    driver
        .write_unsynced("loud", insert(2))
        .await
        .expect("written");
    assert!(changes.since_last(), "another write");

    looked(&mut changes);
    others(3);
    quietly(4).await;
    assert!(changes.since_last(), "a commit before it");

    looked(&mut changes);
    quietly(5).await;
    others(6);
    assert!(changes.since_last(), "a commit after it");
    assert_eq!(count(&driver).await, 6);
}
