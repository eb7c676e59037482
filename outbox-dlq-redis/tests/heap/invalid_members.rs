//! Members that are not entries.

use super::*;

/// Not UTF-8.
const BYTES: &[u8] = b"\xff\xfe";

impl Fixture {
    pub(crate) fn plant(&self, key: &str, member: &[u8], score: &str) {
        let mut add = cmd("ZADD");
        add.arg(self.key(key)).arg(score).arg(member);
        add.exec(&mut connect()).expect("planted");
    }

    /// The members that are set aside, with their scores.
    fn aside(&self) -> HashSet<(Vec<u8>, String)> {
        let mut range = cmd("ZRANGE");
        range.arg(self.key("aside")).arg(&["0", "-1", "WITHSCORES"]);
        let aside: Vec<(Vec<u8>, String)> = range.query(&mut connect()).expect("asked");
        aside.into_iter().collect()
    }
}

#[tokio::test]
async fn a_prune_sets_invalid_members_aside_with_a_warning() {
    let heap = Fixture::open().await;
    let all = heap.fail(120, 1).await;
    let whole = EventId::new().to_string();
    let planted = [
        (BYTES.to_vec(), "1"),
        (b"an application's".to_vec(), "7"),
        (whole.to_uppercase().into_bytes(), "7"),
        (EventId::new().to_string().into_bytes(), "-3"),
        (EventId::new().to_string().into_bytes(), "2.5"),
        (EventId::new().to_string().into_bytes(), "4294967296"),
    ];
    for (member, count) in &planted {
        heap.plant("counts", member, count);
        heap.plant("first", member, "1");
    }
    // Leased for a long time, so a prune cannot forget it as an old entry.
    heap.plant("turns", BYTES, "99999999999999999");
    let (pruned, count) = warnings(heap.heap.prune(Duration::ZERO, 110)).await;
    assert_eq!((pruned.expect("pruned"), count), (110, 1));
    let planted = planted.map(|(member, count)| (member, count.to_owned()));
    assert_eq!(heap.aside(), HashSet::from(planted));
    let pruned = heap.heap.prune(Duration::ZERO, usize::MAX).await;
    assert_eq!(pruned.expect("pruned"), all.len() - 110);
    assert_eq!(heap.left(), [0; 3], "keys are not empty");
}

#[tokio::test]
async fn a_member_that_is_not_utf8_blocks_no_call() {
    let heap = Fixture::open().await;
    for threshold in [1, 2] {
        // More than a page below the threshold, and more than a page above it.
        let below = heap.fail(120, 1).await;
        let all = heap.fail(250, 2).await;
        for key in ["counts", "turns", "first"] {
            heap.plant(key, BYTES, "1");
        }
        assert_eq!(heap.lease(2, 20).await.len(), 20);
        heap.plant("counts", BYTES, "2");
        heap.plant("turns", BYTES, "1");
        heap.shift.advance(LEASE * 2);
        let drained = heap.drain(threshold).await;
        let both = all.union(&below).copied().collect();
        assert_eq!(drained, if threshold == 1 { both } else { all });
        assert_eq!(heap.aside().len(), 1);
    }
}
