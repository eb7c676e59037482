//! Replay and purge of many dead letters.

use crate::support::{
    SHOP, command, done, events, ids, json, lines, open, outbox, quarantined, refused, signal,
    status,
};
use outbox_core::EventId;
use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Three pages of dead letters.
const MANY: usize = 250;

/// From now on an event that is replayed is a dead letter again before the replay is committed.
fn let_them_die_again(folder: &Path) {
    open(folder)
        .execute_batch(
            "CREATE TRIGGER dies_again AFTER INSERT ON outbox_events WHEN NEW.replays > 0 BEGIN
                 INSERT OR REPLACE INTO outbox_dead_letters (
                     seq, id, event_type, payload, content_type, headers, created_at, replays,
                     failure_count, last_error, first_failed_at, last_failed_at, quarantined_at)
                 VALUES (NEW.seq, NEW.id, NEW.event_type, NEW.payload, NEW.content_type,
                     NEW.headers, NEW.created_at, NEW.replays, 1, 'again', 0, 0, 0);
                 DELETE FROM outbox_events WHERE seq = NEW.seq;
             END",
        )
        .unwrap();
}

/// How often each dead letter was replayed, oldest dead letter first.
fn replays(folder: &Path) -> Vec<u64> {
    let list = ["dlq", "list", "--json", "--limit", "1000", "--store", SHOP];
    let replays = |dead_letter: &serde_json::Value| dead_letter["replays"].as_u64().unwrap();
    lines(&done(folder, &list)).iter().map(replays).collect()
}

#[test]
fn a_dead_letter_that_dies_again_meanwhile_is_not_replayed_again() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let all = quarantined(folder, &events("order.placed", MANY), "refused");
    let_them_die_again(folder);
    let replay = ["dlq", "replay", "--all", "--store", SHOP];
    let dry = done(folder, &[&replay[..], &["--dry-run"]].concat());
    assert_eq!(
        replays(folder),
        vec![0; MANY],
        "a dry run changed something"
    );
    let output = outbox(folder, &replay);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let replayed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(ids(&replayed), all);
    assert_eq!(dry, replayed, "the dry run said something else");
    assert_eq!(replays(folder), vec![1; MANY]);
    let progress = String::from_utf8(output.stderr).unwrap();
    assert!(
        progress.starts_with("100 of 250\n200 of 250\n250 of 250\n"),
        "{progress}"
    );
}

#[test]
fn a_run_that_was_interrupted_continues_with_the_rest_only() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    quarantined(folder, &events("order.placed", MANY), "refused");
    let_them_die_again(folder);
    let replay = ["dlq", "replay", "--all", "--store", SHOP];
    let unread = |more: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(folder, &[&replay[..], more].concat())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    // The object cannot be begun, so nothing is.
    unread(&["--json"]);
    assert_eq!(replays(folder), vec![0; MANY]);
    // The ids of the first page are known only when it is replayed.
    let errors = unread(&[]);
    assert_eq!(replays(folder).iter().sum::<u64>(), 100);
    assert!(
        errors.contains("replayed 100 of 250 dead letters"),
        "{errors}"
    );
    let last = errors.trim_end().rsplit(' ').next().unwrap();
    let rest = [&replay[..], &["--through", last]].concat();
    assert_eq!(ids(&done(folder, &rest)).len(), MANY - 100);
    assert_eq!(replays(folder), vec![1; MANY]);
}

#[test]
fn a_purge_takes_what_matched_when_it_began_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let unwanted = quarantined(folder, &events("order.noise", MANY), "refused");
    let kept = quarantined(folder, &events("order.placed", 2), "refused");
    let purge = [
        "dlq",
        "purge",
        "--type",
        "order.noise",
        "--json",
        "--store",
        SHOP,
    ];
    let read = |more: &[&str]| {
        let value = json(&done(folder, &[&purge[..], more].concat()));
        let ids = value["purged"].as_array().unwrap().iter();
        let ids: Vec<EventId> = ids
            .map(|id| id.as_str().unwrap().parse().unwrap())
            .collect();
        (ids, value["dry_run"].clone())
    };
    assert_eq!(read(&["--dry-run"]), (unwanted.clone(), true.into()));
    assert_eq!(status(folder, "dead_letters"), MANY + 2);
    assert_eq!(read(&["--yes"]), (unwanted, false.into()));
    let left: HashSet<EventId> = ids(&done(
        folder,
        &["dlq", "purge", "--all", "--yes", "--store", SHOP],
    ))
    .into_iter()
    .collect();
    assert_eq!(left, kept.into_iter().collect());
    assert_eq!(read(&["--yes"]), (Vec::new(), false.into()));
}

#[test]
fn a_dead_letter_that_cannot_be_replayed_stays_and_the_others_go() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let all = quarantined(folder, &events("order.placed", MANY), "refused");
    // The first page and a dead letter of the second have their id in the outbox again.
    open(folder)
        .execute(
            "INSERT INTO outbox_events (id, event_type, payload)
             SELECT id, event_type, payload FROM outbox_dead_letters WHERE position <= 101",
            [],
        )
        .unwrap();
    let output = outbox(folder, &["dlq", "replay", "--all", "--store", SHOP]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(ids(&String::from_utf8(output.stdout).unwrap()), all[101..]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("replayed 149 of 250 dead letters"),
        "{errors}"
    );
    assert_eq!(status(folder, "dead_letters"), 101);
}

#[test]
fn dead_letters_are_chosen_by_a_time_with_an_offset_a_date_or_an_age() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    quarantined(folder, &events("order.placed", 3), "refused");
    let listed = |before: &str| {
        let arguments = ["dlq", "list", "--json", "--before", before, "--store", SHOP];
        lines(&done(folder, &arguments)).len()
    };
    for all in ["9999-12-31", "9999-12-31T23:00:00+09:00", "0s"] {
        assert_eq!(listed(all), 3, "{all}");
    }
    for none in ["2020-01-01", "2020-01-01T00:00:00-05:30", "2h"] {
        assert_eq!(listed(none), 0, "{none}");
    }
    let wrong = ["dlq", "list", "--before", "noon", "--store", SHOP];
    refused(folder, &wrong, 2, &["noon", "such as 2h"]);
}

/// The reader of stdout takes the first ids only, so the command waits for it when the signal comes.
#[cfg(unix)]
#[test]
fn a_replay_that_is_interrupted_says_how_to_continue() {
    const MANY: usize = PIPES_FULL;
    for name in ["INT", "TERM"] {
        let folder = TempDir::new().unwrap();
        let folder = folder.path();
        quarantined(folder, &events("order.placed", MANY), "refused");
        let (replay, mut stdout) = unread_replay(folder);
        signal(&replay, name);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        let ended = replay.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(1));
        let errors = String::from_utf8_lossy(&ended.stderr);
        let printed = 1 + rest.lines().count();
        let expected =
            format!("interrupted by a signal; replayed {printed} of {MANY} dead letters");
        assert!(errors.contains(&expected), "{errors}");
        let (_, through) = errors
            .trim_end()
            .rsplit_once("--through ")
            .expect("a position");
        assert_eq!(status(folder, "dead_letters"), MANY - printed);
        let rest = [
            "dlq",
            "replay",
            "--all",
            "--through",
            through,
            "--store",
            SHOP,
        ];
        assert_eq!(ids(&done(folder, &rest)).len(), MANY - printed);
        assert_eq!(status(folder, "dead_letters"), 0);
    }
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_a_replay_at_once() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    quarantined(folder, &events("order.placed", PIPES_FULL), "refused");
    let (mut replay, _unread) = unread_replay(folder);
    signal(&replay, "INT");
    let first = Instant::now();
    // A signal that comes before the last one was handled is not counted.
    while replay.try_wait().unwrap().is_none() {
        signal(&replay, "INT");
        assert!(first.elapsed() < Duration::from_secs(60), "it does not end");
        std::thread::yield_now();
    }
    assert_eq!(replay.wait().unwrap().code(), Some(1));
    let left = status(folder, "dead_letters").as_u64().unwrap();
    assert!((1..PIPES_FULL as u64).contains(&left), "{left} are left");
}

/// So many ids fill a pipe several times.
#[cfg(unix)]
const PIPES_FULL: usize = 10_000;

/// A replay that waits for the reader of its output, who has read one line.
#[cfg(unix)]
fn unread_replay(folder: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut replay = command(folder, &["dlq", "replay", "--all", "--store", SHOP])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(replay.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    (replay, stdout)
}
