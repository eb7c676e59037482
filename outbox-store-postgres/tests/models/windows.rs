//! Windows between snapshots: how `claim_events.sql` reads the log of a lane while producers commit
//! in any order.
//!
//! A producer takes its transaction id, inserts a row (which takes the next `seq`), and commits or
//! rolls back: three steps. Producers of one key take turns, as with a row lock. A worker takes the
//! snapshot of its statement in one step; in another it locks the lane, reads a row and settles it. A
//! snapshot is the set of the transactions that have ended. A window starts as `outbox_unread` defines:
//! after the last row that was read, or at the mark of a transaction that was open when the lane was
//! read last.

use crate::check::{breaks, holds, soak};
use stateright::{Model, Property};

/// How the log is read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cursor {
    /// Between two snapshots, and by `seq` in the window.
    Windows,
    /// A claim reads a lane although it was changed after the snapshot.
    StaleSnapshots,
    /// A window starts at the end of the last one.
    NeverBack,
    /// A transaction counts as later if its id is larger than all ids that a snapshot sees.
    EndOfSnapshot,
    /// A mark belongs to the window that starts with it.
    MarkOfWindow,
    /// The next window does not start at the end of the last one.
    ReadAgain,
    /// By `seq` alone.
    BySeq,
    /// By `seq`, of transactions older than every open one.
    ByXmin,
}

/// Transactions as bits.
type Set = u16;

#[derive(Clone)]
struct Log {
    workers: usize,
    /// The key of each transaction's row.
    keys: &'static [u8],
    cursor: Cursor,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Stage {
    Unborn,
    Open,
    Inserted(u8),
    Committed(u8),
    RolledBack,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct State {
    transactions: Vec<Stage>,
    /// Transactions in the order of their ids.
    ids: Vec<usize>,
    rows: u8,
    /// A worker's snapshot, and whether the lane was changed since.
    workers: Vec<Option<(Set, bool)>>,
    seen: Set,
    /// How many ids were assigned when it was taken.
    seen_ids: usize,
    /// The `seq` after its last row.
    top: u8,
    window: Option<(Set, usize)>,
    /// The next `seq` of the window.
    position: u8,
    /// A number of ids, and a `seq`: rows of later ids do not come before it.
    marks: Vec<(usize, u8)>,
    delivered: Vec<usize>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Action {
    Begin(usize),
    Insert(usize),
    Commit(usize),
    RollBack(usize),
    Look(usize),
    Read(usize),
}

const MISSED: &str = "when all transactions have ended every committed row is delivered";
const DELAYED: &str = "every committed row is delivered while other transactions stay open";
const ORDER: &str = "rows of a key are delivered once, in the order of their commits";

fn has(set: Set, transaction: usize) -> bool {
    set & (1 << transaction) != 0
}

impl Log {
    fn small(cursor: Cursor) -> Self {
        Self {
            workers: soak(2, 3),
            keys: &[0, 1, 0],
            cursor,
        }
    }

    /// Which transactions have ended.
    fn snapshot(state: &State) -> Set {
        let ended = |stage: &Stage| matches!(stage, Stage::Committed(_) | Stage::RolledBack);
        let ends = state.transactions.iter().enumerate();
        ends.filter(|(_, stage)| ended(stage))
            .fold(0, |set, (transaction, _)| set | 1 << transaction)
    }

    /// The committed rows, by `seq`.
    fn rows(state: &State) -> Vec<(u8, usize)> {
        let stages = state.transactions.iter().enumerate();
        let mut rows: Vec<_> = stages
            .filter_map(|(transaction, stage)| match stage {
                Stage::Committed(seq) => Some((*seq, transaction)),
                _ => None,
            })
            .collect();
        rows.sort_unstable();
        rows
    }

    /// Whether every transaction of a smaller id has ended too.
    fn is_before_xmin(state: &State, snapshot: Set, transaction: usize) -> bool {
        let before = state.ids.iter().take_while(|id| **id != transaction);
        before.into_iter().all(|id| has(snapshot, *id))
    }

    /// The rows that a claim with this snapshot finds in the window.
    fn found(&self, state: &State, snapshot: Set, window: Set, position: u8) -> Vec<(u8, usize)> {
        let mut rows = Self::rows(state);
        rows.retain(|&(seq, transaction)| {
            let ahead = seq >= position && has(snapshot, transaction);
            ahead
                && match self.cursor {
                    Cursor::BySeq => true,
                    Cursor::ByXmin => Self::is_before_xmin(state, snapshot, transaction),
                    _ => has(window, transaction) && !has(state.seen, transaction),
                }
        });
        rows
    }

    /// The first `seq` of a window that a claim with this snapshot reads.
    fn begins(&self, state: &State, snapshot: Set) -> u8 {
        let goes_back = !matches!(
            self.cursor,
            Cursor::NeverBack | Cursor::BySeq | Cursor::ByXmin
        );
        if !goes_back || state.window.is_some() {
            return state.position;
        }
        let seen = |at: &usize| has(state.seen, state.ids[*at]);
        let end = (0..state.ids.len()).rfind(seen).map_or(0, |last| last + 1);
        let open = |at: &usize| !seen(at) && has(snapshot, state.ids[*at]);
        let behind = end < state.seen_ids && self.cursor != Cursor::EndOfSnapshot;
        let late = (0..end).find(open).or(behind.then_some(end));
        let mark = |late: usize| {
            let marks = state.marks.iter().rfind(|(ids, _)| *ids <= late);
            marks.map_or(0, |(_, seq)| *seq)
        };
        late.map_or(state.top, |late| state.top.min(mark(late)))
    }

    /// Marks the first `seq` of the ids that were assigned after the lane was read last, and deletes marks
    /// that are older than the one that the oldest open transaction needs.
    fn mark(&self, state: &mut State) {
        let seq = match self.cursor {
            Cursor::MarkOfWindow => state.rows,
            _ => state.top,
        };
        state.marks.retain(|(ids, _)| *ids != state.seen_ids);
        state.marks.push((state.seen_ids, seq));
        let ids = state.ids.iter();
        let oldest = ids.take_while(|id| has(state.seen, **id)).count();
        let needed = state.marks.iter().rposition(|(ids, _)| *ids <= oldest);
        state.marks.drain(..needed.unwrap_or_default());
    }

    fn read(&self, state: &mut State, worker: usize) {
        let Some((snapshot, stale)) = state.workers[worker].take() else {
            return;
        };
        if stale && self.cursor != Cursor::StaleSnapshots {
            return;
        }
        state.position = self.begins(state, snapshot);
        let (window, ids) = state.window.unwrap_or((snapshot, state.ids.len()));
        if state.window.is_none() {
            self.mark(state);
        }
        let rows = self.found(state, snapshot, window, state.position);
        if let Some(&(seq, transaction)) = rows.first() {
            state.delivered.push(transaction);
            state.position = seq + 1;
        }
        if rows.len() > 1 {
            state.window = Some((window, ids));
        } else {
            if self.cursor != Cursor::ReadAgain {
                state.seen = window;
                state.seen_ids = ids;
                state.top = state.top.max(state.position);
            }
            state.window = None;
        }
        for other in state.workers.iter_mut().flatten() {
            other.1 = true;
        }
    }

    /// Whether a single worker that continues from here delivers each committed row.
    fn delivers_all(&self, mut state: State) -> bool {
        let rows = Self::rows(&state);
        let snapshot = Self::snapshot(&state);
        for _ in 0..=2 * rows.len() {
            state.workers = vec![Some((snapshot, false))];
            self.read(&mut state, 0);
        }
        rows.iter().all(|(_, row)| state.delivered.contains(row))
    }
}

impl Model for Log {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            transactions: vec![Stage::Unborn; self.keys.len()],
            ids: Vec::new(),
            rows: 0,
            workers: vec![None; self.workers],
            seen: 0,
            seen_ids: 0,
            top: 0,
            window: None,
            position: 0,
            marks: Vec::new(),
            delivered: Vec::new(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (one, stage) in state.transactions.iter().enumerate() {
            match stage {
                Stage::Unborn => actions.push(Action::Begin(one)),
                Stage::Open => {
                    let locked = (0..one).any(|other| {
                        self.keys[other] == self.keys[one] && !has(Self::snapshot(state), other)
                    });
                    if !locked {
                        actions.push(Action::Insert(one));
                    }
                }
                Stage::Inserted(_) => {
                    actions.extend([Action::Commit(one), Action::RollBack(one)]);
                }
                Stage::Committed(_) | Stage::RolledBack => {}
            }
        }
        for (worker, looked) in state.workers.iter().enumerate() {
            actions.push(match looked {
                None => Action::Look(worker),
                Some(_) => Action::Read(worker),
            });
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Begin(one) => {
                state.transactions[one] = Stage::Open;
                state.ids.push(one);
            }
            Action::Insert(one) => {
                state.transactions[one] = Stage::Inserted(state.rows);
                state.rows += 1;
            }
            Action::Commit(one) => {
                if let Stage::Inserted(seq) = state.transactions[one] {
                    state.transactions[one] = Stage::Committed(seq);
                }
            }
            Action::RollBack(one) => state.transactions[one] = Stage::RolledBack,
            Action::Look(worker) => {
                state.workers[worker] = Some((Self::snapshot(&state), false));
            }
            Action::Read(worker) => self.read(&mut state, worker),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(MISSED, |model: &Self, state: &State| {
                let mut ended = state.clone();
                for stage in &mut ended.transactions {
                    if !matches!(stage, Stage::Committed(_)) {
                        *stage = Stage::RolledBack;
                    }
                }
                model.delivers_all(ended)
            }),
            Property::always(DELAYED, |model: &Self, state: &State| {
                model.delivers_all(state.clone())
            }),
            Property::always(ORDER, |model: &Self, state: &State| {
                let delivered = &state.delivered;
                delivered.iter().enumerate().all(|(at, one)| {
                    let before = &delivered[..at];
                    before
                        .iter()
                        .all(|other| model.keys[*other] != model.keys[*one] || other < one)
                })
            }),
        ]
    }
}

#[test]
fn windows_miss_no_row_and_wait_for_no_transaction() {
    holds("windows", Log::small(Cursor::Windows));
}

#[test]
fn a_cursor_by_seq_misses_a_late_commit() {
    breaks(Log::small(Cursor::BySeq), MISSED);
}

#[test]
fn a_cursor_by_xmin_waits_for_open_transactions() {
    breaks(Log::small(Cursor::ByXmin), DELAYED);
}

#[test]
fn a_window_that_does_not_go_back_misses_a_late_commit() {
    breaks(Log::small(Cursor::NeverBack), MISSED);
}

#[test]
fn a_window_that_starts_at_the_end_of_a_snapshot_misses_a_row() {
    breaks(Log::small(Cursor::EndOfSnapshot), MISSED);
}

#[test]
fn a_mark_of_unseen_rows_misses_a_row() {
    breaks(Log::small(Cursor::MarkOfWindow), MISSED);
}

#[test]
fn a_snapshot_older_than_its_window_misses_a_row() {
    breaks(Log::small(Cursor::StaleSnapshots), MISSED);
}

#[test]
fn the_model_rejects_a_window_that_is_read_twice() {
    breaks(Log::small(Cursor::ReadAgain), ORDER);
}
