//! What this handle knows beside the database: its claims, and where work may be.

use crate::aside::Looked;
use crate::draft::{Draft, Run};
use outbox_core::ClaimToken;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many lanes the log has: the statements of the migration say so too.
pub(crate) const LANES: usize = 16;

/// A busy worker looks for retries and lost claims this often.
const LOOK: Duration = Duration::from_millis(50);

/// Of so many claims of a backlog one looks into all lanes.
const GO_ON: u32 = 16;

/// A run has so many rows, one claim after the other, before a look behind it.
const RUN: usize = 8;

/// Between looks behind a run there are so many of its claims, or so many times as long as a look took.
const CLAIMS_OF_RUN: u32 = 16;
const TIMES_A_LOOK: u32 = 10;

/// How often keys are looked at whose events were changed by hand.
const REPAIR: Duration = Duration::from_secs(1);

/// After so many settlements one looks whether the lanes have grown.
const SETTLEMENTS: u32 = 128;

/// How long the log is left alone after it could not be renewed.
const RENEWAL: Duration = Duration::from_secs(60);

/// Claims that are remembered for their settlement. A worker has one or a few.
const CLAIMS: usize = 1_000;

/// What a claim may find.
#[derive(Clone, Copy, Debug, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a column of one answer"
)]
pub(crate) struct Outlook {
    pub(crate) events: bool,
    pub(crate) retries: bool,
    pub(crate) suspects: bool,
    pub(crate) lost: bool,
    /// Until something else is due.
    pub(crate) next_in: Option<Duration>,
    /// The oldest transaction that is open.
    pub(crate) oldest_open: i64,
}

impl Outlook {
    pub(crate) fn has_work(&self) -> bool {
        self.events || self.retries || self.suspects || self.lost
    }
}

/// How far a lane is cleaned up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cleaned {
    /// The last row that was looked at, by its seq.
    pub(crate) seq: i64,
    /// The oldest transaction that was open for the lane when this pass began, and where the rows
    /// begin that it may bring.
    open: i64,
    begin: i64,
}

impl Cleaned {
    /// Nothing is left behind the last row: begins anew where transactions were open before, as they
    /// may have committed since. While the oldest is the same there is no need to pass what was
    /// deleted, of which the server can reclaim nothing yet.
    pub(crate) fn begin_anew(&mut self, open: i64, begin: i64) {
        if open > self.open {
            self.seq = self.begin;
            (self.open, self.begin) = (open, begin);
        }
    }
}

/// What this handle knows of the rows behind a run of few keys in a lane.
#[derive(Debug, Default)]
struct Behind {
    keys: Vec<String>,
    rows: usize,
    looked: Option<Looked>,
    /// When the last look began, how long it took, and how many claims there were since.
    at: Option<Instant>,
    took: Duration,
    claims: u32,
}

impl Behind {
    fn is_due(&self) -> bool {
        let rested = |at: Instant| at.elapsed() > self.took.saturating_mul(TIMES_A_LOOK);
        self.rows >= RUN && (self.claims >= CLAIMS_OF_RUN || self.at.is_none_or(rested))
    }
}

/// What was seen, and the bell's mark from before.
pub(crate) type Seen = (Outlook, Option<u64>);

/// Shared by the clones of a handle.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Inner>);

#[derive(Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is known of the last claim on its own"
)]
struct Inner {
    claims: HashMap<ClaimToken, (u64, Arc<Draft>)>,
    count: u64,
    /// How many lanes the next claim asks for: few when one lane fills it.
    lanes: usize,
    /// How many claims went on with a window since one looked for new ones.
    went_on: u32,
    /// The last claim found a run of few keys only in a lane.
    run: bool,
    behind: HashMap<i16, Behind>,
    /// Half of what the last claim found of the log must wait.
    waiting: bool,
    /// When keys were looked at, and the last of them.
    repaired: Option<Instant>,
    repaired_to: i64,
    longest_lease: Duration,
    turn: bool,
    looked: Option<Instant>,
    outlook: Outlook,
    /// Whether the last claim found something.
    found: bool,
    /// Nothing was found since, and this is what was seen.
    idle: bool,
    answer: Option<Seen>,
    cleaned: [Cleaned; LANES],
    settlements: u32,
    spared: Option<Instant>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            claims: HashMap::new(),
            count: 0,
            lanes: LANES,
            went_on: 0,
            run: false,
            behind: HashMap::new(),
            waiting: false,
            repaired: None,
            repaired_to: i64::MIN,
            longest_lease: Duration::ZERO,
            turn: false,
            looked: None,
            outlook: Outlook::default(),
            found: false,
            idle: true,
            answer: None,
            cleaned: [Cleaned::default(); LANES],
            settlements: 0,
            spared: None,
        }
    }
}

impl Memory {
    /// Remembers a claim for its settlement. The oldest is forgotten when there are too many.
    pub(crate) fn remember(&self, token: ClaimToken, draft: Draft) {
        let mut inner = self.lock();
        inner.count += 1;
        let count = inner.count;
        inner.claims.insert(token, (count, Arc::new(draft)));
        if inner.claims.len() > CLAIMS {
            let oldest = inner.claims.iter().min_by_key(|(_, (count, _))| *count);
            if let Some(oldest) = oldest.map(|(token, _)| *token) {
                inner.claims.remove(&oldest);
            }
        }
    }

    pub(crate) fn claim(&self, token: ClaimToken) -> Option<Arc<Draft>> {
        self.lock()
            .claims
            .get(&token)
            .map(|(_, draft)| Arc::clone(draft))
    }

    pub(crate) fn forget(&self, token: ClaimToken) {
        self.lock().claims.remove(&token);
    }

    /// Whether to look before the next claim: after an idle one, and now and then.
    pub(crate) fn must_look(&self) -> bool {
        let inner = self.lock();
        inner.idle || inner.looked.is_none_or(|looked| looked.elapsed() > LOOK)
    }

    /// Keeps what was seen.
    pub(crate) fn saw(&self, outlook: Outlook) {
        let mut inner = self.lock();
        inner.looked = Some(Instant::now());
        inner.outlook = outlook;
    }

    /// Has the next claim look: something came to wait or went.
    pub(crate) fn look_again(&self) {
        self.lock().looked = None;
    }

    pub(crate) fn outlook(&self) -> Outlook {
        self.lock().outlook
    }

    /// Whether retries have the odd place: by turns.
    pub(crate) fn next_turn(&self) -> bool {
        let mut inner = self.lock();
        inner.turn = !inner.turn;
        inner.turn
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lock().lanes
    }

    /// Whether a claim from one lane may go on with a window that is being read. Not always: lanes
    /// whose windows have yet to begin would starve.
    pub(crate) fn may_go_on(&self) -> bool {
        let mut inner = self.lock();
        inner.went_on = (inner.went_on + 1) % GO_ON;
        inner.went_on > 0
    }

    pub(crate) fn set_lanes(&self, lanes: usize) {
        self.lock().lanes = lanes.clamp(1, LANES);
    }

    pub(crate) fn has_run(&self) -> bool {
        self.lock().run
    }

    pub(crate) fn set_run(&self, run: bool) {
        self.lock().run = run;
    }

    /// The run to look behind next, of those that a claim found in its lanes, and how far that was
    /// done.
    pub(crate) fn next_run(&self, runs: Vec<Run>) -> Option<(Run, Option<Looked>)> {
        let mut inner = self.lock();
        let mut next: Option<(Option<Instant>, Run)> = None;
        for run in runs {
            let behind = inner.behind.entry(run.lane).or_default();
            if behind.keys != run.keys {
                // What is behind other keys was not looked for.
                *behind = Behind {
                    keys: run.keys.clone(),
                    ..Behind::default()
                };
            }
            behind.rows += run.rows;
            behind.claims += 1;
            if behind.is_due() && next.as_ref().is_none_or(|(at, _)| behind.at < *at) {
                next = Some((behind.at, run));
            }
        }
        let (_, run) = next?;
        let behind = inner.behind.get_mut(&run.lane)?;
        (behind.at, behind.took, behind.claims) = (Some(Instant::now()), Duration::MAX, 0);
        let looked = behind.looked.clone();
        Some((run, looked))
    }

    pub(crate) fn looked_behind(&self, run: &Run, looked: Looked) {
        let mut inner = self.lock();
        if let Some(behind) = inner.behind.get_mut(&run.lane) {
            behind.took = behind.at.map(|at| at.elapsed()).unwrap_or_default();
            if looked.is_full {
                behind.at = None;
            }
            behind.looked = Some(looked);
        }
    }

    pub(crate) fn found_waiting(&self) -> bool {
        self.lock().waiting
    }

    pub(crate) fn set_found_waiting(&self, waiting: bool) {
        self.lock().waiting = waiting;
    }

    /// The hash of the key from which to look for keys to repair, if it is time.
    pub(crate) fn next_repair(&self) -> Option<i64> {
        let mut inner = self.lock();
        if inner.repaired.is_some_and(|at| at.elapsed() < REPAIR) {
            return None;
        }
        inner.repaired = Some(Instant::now());
        Some(std::mem::replace(&mut inner.repaired_to, i64::MIN))
    }

    /// The next repair begins after the hash.
    pub(crate) fn repaired_to(&self, hash: i64) {
        self.lock().repaired_to = hash.saturating_add(1);
    }

    /// What a claim came to: `answer` is what it saw if it found nothing. Returns whether the
    /// worker is busy: the claim before found something too.
    pub(crate) fn claimed(&self, answer: Option<Seen>) -> bool {
        let mut inner = self.lock();
        let before = std::mem::replace(&mut inner.found, answer.is_none());
        inner.idle = answer.is_some();
        inner.answer = answer;
        before
    }

    /// Keeps what was seen by a wait: the next claim need not look again.
    pub(crate) fn will_find(&self, outlook: Outlook) {
        self.saw(outlook);
        let mut inner = self.lock();
        inner.idle = false;
        inner.answer = None;
    }

    /// What the last claim saw, once.
    pub(crate) fn take_answer(&self) -> Option<Seen> {
        self.lock().answer.take()
    }

    /// A claim is about to take a lease.
    pub(crate) fn takes_lease(&self, lease: Duration) {
        let mut inner = self.lock();
        inner.longest_lease = inner.longest_lease.max(lease);
    }

    /// The longest lease that this handle took; a minute at least.
    pub(crate) fn longest_lease(&self) -> Duration {
        self.lock().longest_lease.max(Duration::from_secs(60))
    }

    /// Forgets where in the log this handle was.
    pub(crate) fn forget_places(&self) {
        let mut inner = self.lock();
        inner.cleaned = [Cleaned::default(); LANES];
        inner.answer = None;
        inner.looked = None;
    }

    pub(crate) fn cleaned(&self) -> [Cleaned; LANES] {
        self.lock().cleaned
    }

    pub(crate) fn set_cleaned(&self, cleaned: &[Cleaned; LANES]) {
        self.lock().cleaned = *cleaned;
    }

    /// Whether to look if the lanes have grown, after a settlement.
    pub(crate) fn may_renew_lanes(&self) -> bool {
        let mut inner = self.lock();
        inner.settlements = (inner.settlements + 1) % SETTLEMENTS;
        inner.settlements == 0
    }

    /// Whether to look if the log has grown.
    pub(crate) fn may_renew_events(&self) -> bool {
        let spared = self.lock().spared;
        spared.is_none_or(|since| since.elapsed() > RENEWAL)
    }

    pub(crate) fn spare_events(&self) {
        self.lock().spared = Some(Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
