//! The stored form of failures, in any state that other programs may leave.

use super::*;

/// The data of one id in the keys. A time since `before` is shown as `now`.
#[derive(Debug, PartialEq)]
struct Stored {
    scores: [Option<String>; 4],
    details: Option<Vec<u8>>,
}

impl Fixture {
    fn stored(&self, id: &str, before: u64) -> Stored {
        let mut connection = connect();
        let now = |time: &str| {
            let time = time.parse::<u64>();
            time.is_ok_and(|time| (before..=micros_of_server()).contains(&time))
        };
        let scores = ["counts", "turns", "first", "aside"].map(|key| {
            let score = cmd("ZSCORE")
                .arg(self.key(key))
                .arg(id)
                .query(&mut connection);
            let score: Option<String> = score.expect("asked");
            score.map(|score| if now(&score) { "now".to_owned() } else { score })
        });
        let details = connection.hget(self.key("details"), id);
        let details: Option<Vec<u8>> = details.expect("asked");
        let details = details.map(|details| {
            let time = details
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            let (time, text) = details.split_at(time);
            let time = str::from_utf8(time).expect("digits");
            [if now(time) { "now" } else { time }.as_bytes(), text].concat()
        });
        Stored { scores, details }
    }
}

fn micros_of_server() -> u64 {
    let (seconds, micros): (u64, u64) = cmd("TIME").query(&mut connect()).expect("asked");
    seconds * 1_000_000 + micros
}

const COUNTS: [Option<&str>; 10] = [
    None,
    Some("1"),
    Some("4294967294"),
    Some("4294967295"),
    Some("4294967296"),
    Some("0"),
    Some("-1"),
    Some("2.5"),
    Some("+inf"),
    Some("-inf"),
];

const DETAILS: [Option<&[u8]>; 8] = [
    None,
    Some(b""),
    Some(b"5"),
    Some(b"5 refused: \xff"),
    Some(b" refused"),
    Some(b"no time"),
    Some(b"99999999999999999 ahead of the clock"),
    Some(b"5.5 a time  with a fraction"),
];

#[tokio::test]
async fn a_single_failure_is_stored_as_in_a_batch() {
    let (alone, batch) = (Fixture::open().await, Fixture::open().await);
    for count in COUNTS {
        for details in DETAILS {
            for error in [None, Some("no such topic"), Some("")] {
                let id = EventId::new();
                let text = id.to_string();
                let mut failure = FailedAttempt::new(id);
                if let Some(error) = error {
                    failure = failure.with_error(error.into());
                }
                for heap in [&alone, &batch] {
                    for key in ["counts", "turns", "first"] {
                        let Some(count) = count else { continue };
                        let score = if key == "counts" { count } else { "7" };
                        heap.plant(key, text.as_bytes(), score);
                    }
                    if let Some(details) = details {
                        let set = connect().hset(heap.key("details"), &text, details);
                        let _: () = set.expect("planted");
                    }
                }
                let before = micros_of_server();
                let one = [failure.clone()];
                let more = [failure, FailedAttempt::new(EventId::new())];
                alone.heap.record_failures(&one).await.expect("recorded");
                batch.heap.record_failures(&more).await.expect("recorded");
                assert_eq!(
                    alone.stored(&text, before),
                    batch.stored(&text, before),
                    "{count:?}, {details:?}, {error:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_event_whose_count_was_removed_is_a_new_entry_at_its_next_failure() {
    for batch in [false, true] {
        let heap = Fixture::open().await;
        let id = EventId::new();
        let failure = FailedAttempt::new(id);
        let refused = failure.clone().with_error("refused".into());
        heap.heap
            .record_failures(&[refused])
            .await
            .expect("counted");
        assert_eq!(heap.lease(1, 1).await.len(), 1);
        let counts = heap.key("counts");
        let taken: u64 = connect().zrem(counts, id.to_string()).expect("taken");
        assert_eq!(taken, 1);
        let mut again = vec![failure];
        again.extend(batch.then(|| FailedAttempt::new(EventId::new())));
        heap.heap.record_failures(&again).await.expect("counted");
        let entries = heap.heap.drain_exceeded(1).await.expect("drained");
        let entry = entries.iter().find(|entry| entry.id == id);
        let entry = entry.expect("no longer leased");
        assert_eq!((entry.failure_count, &entry.last_error), (1, &None));
        assert_eq!(entry.first_failed_at, entry.last_failed_at);
        assert_eq!(heap.left(), [0; 3]);
    }
}

#[tokio::test]
async fn a_success_removes_all_data_of_the_event() {
    let heap = Fixture::open().await;
    let failed = heap.fail(2, 2).await;
    for id in failed {
        heap.heap.record_success(id).await.expect("forgotten");
    }
    assert_eq!(heap.left(), [0; 3]);
}
