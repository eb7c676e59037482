//! S1, S2 with real transactions: commits that come late, rollbacks, and one that never ends.

mod support;

use outbox_core::Event;
use outbox_store_postgres::append;
use outbox_store_postgres::sqlx::{Executor, PgConnection};
use std::sync::Arc;
use support::Own;
use support::load::{Recorder, Workers, committed, prepare, start_writers};

/// A transaction that has written an event and stays open.
async fn never_ending(own: &Own) -> PgConnection {
    let mut connection = own.connect().await;
    connection.execute("BEGIN").await.expect("begun");
    let event = Event::new("late", "0").ordering_key("never");
    append(&mut connection, own.schema(), &[event])
        .await
        .expect("appended");
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn late_commits_are_neither_missed_nor_repeated_and_keep_their_order() {
    let own = Arc::new(Own::in_schema("outbox"));
    prepare(&own).await;
    let open = never_ending(&own).await;
    let recorder = Arc::new(Recorder::default());
    let workers = Workers::start(&own, &recorder, 3).await;
    for writer in start_writers(&own, 60) {
        writer.await.expect("written");
    }
    own.drained().await;
    workers.stop().await;
    let expected = committed(&own).await;
    assert!(expected.values().map(Vec::len).sum::<usize>() > 500);
    assert_eq!(recorder.published(), expected);
    drop(open);
}
