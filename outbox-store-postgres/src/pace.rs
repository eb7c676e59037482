//! When a handle looks for work, how many lanes it asks, and when it renews tables.
//!
//! It decides when events are claimed and at what cost, not which. A look for work and a claim from all 16
//! lanes cost the server more than a claim from one lane. So a busy worker does both rarely, and an idle
//! worker does not look twice for the same answer.

use crate::outlook::Outlook;
use crate::sql::LANES;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a busy worker looks for retries and lost claims.
const LOOK: Duration = Duration::from_millis(50);

/// The first pause before a look for a commit that may not ring.
const SHORTEST_LOOK: Duration = Duration::from_millis(5);

/// One of so many claims of a backlog asks all lanes.
const CONTINUED: u32 = 16;

/// After so many settlements the size of the lanes is checked.
const SETTLEMENTS: u32 = 128;

/// After a page of events that must wait was moved, claims get this many times as long.
const PARKING: u32 = 4;

/// How long a table is not renewed after an attempt failed.
const RENEWAL: Duration = Duration::from_secs(60);

/// The answer of a look, and the mark of the bell from before the look.
pub(crate) type Seen = (Outlook, Option<u64>);

/// Shared by the clones of a handle.
#[derive(Debug)]
pub(crate) struct Pace(Mutex<Inner>);

#[derive(Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is known of the last claim independently"
)]
struct Inner {
    /// How many lanes the next claim asks: few if one lane fills it.
    lanes: usize,
    /// Claims that continued a window since one asked all lanes.
    continued: u32,
    /// The lane in which the next such claim looks first.
    next_lane: i16,
    /// Whether the last such claim found a window.
    finds_windows: bool,
    /// In a lane, the last claim found a run of few keys.
    has_run: bool,
    /// Events of the log that must wait were more than half of the last claim.
    found_waiting: bool,
    /// When the next page of them may be moved.
    park_at: Option<Instant>,
    is_odd: bool,
    /// The time and the answer of the last look.
    looked: Option<Instant>,
    outlook: Outlook,
    /// The last claim found events.
    found: bool,
    /// The last claim found nothing, and no later look found anything.
    is_idle: bool,
    /// The answer of the last claim's look, if the claim found nothing.
    answer: Option<Seen>,
    /// Until the next look for a commit that may not ring. It grows while nothing is found.
    pause: Duration,
    settlements: u32,
    lanes_failed: Option<Instant>,
    events_failed: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            lanes: 1,
            continued: 0,
            next_lane: 0,
            finds_windows: true,
            has_run: false,
            found_waiting: false,
            park_at: None,
            is_odd: false,
            looked: None,
            outlook: Outlook::default(),
            found: false,
            is_idle: true,
            answer: None,
            pause: SHORTEST_LOOK,
            settlements: 0,
            lanes_failed: None,
            events_failed: None,
        }))
    }
}

/// When to look for work.
impl Pace {
    /// Whether to look before the next claim: after one that found nothing, and every [`LOOK`].
    pub(crate) fn must_look(&self) -> bool {
        let inner = self.lock();
        inner.is_idle || inner.looked.is_none_or(|looked| looked.elapsed() > LOOK)
    }

    /// Keeps the answer of a look.
    pub(crate) fn saw(&self, outlook: Outlook) {
        let mut inner = self.lock();
        inner.looked = Some(Instant::now());
        inner.outlook = outlook;
    }

    /// Lets the next claim look, because events were added to the retries or removed from them.
    pub(crate) fn look_again(&self) {
        self.lock().looked = None;
    }

    /// The answer of the last look.
    pub(crate) fn outlook(&self) -> Outlook {
        self.lock().outlook
    }

    /// Notes the end of a claim. `answer` is that of its last look, if it found nothing. Returns whether
    /// the worker is busy: the claim before this one found events.
    pub(crate) fn claimed(&self, answer: Option<Seen>) -> bool {
        let mut inner = self.lock();
        let before = std::mem::replace(&mut inner.found, answer.is_none());
        inner.is_idle = answer.is_some();
        if answer.is_none() {
            inner.pause = SHORTEST_LOOK;
        }
        inner.answer = answer;
        before
    }

    /// Keeps the answer of a wait, so that the next claim need not look again.
    pub(crate) fn will_find(&self, outlook: Outlook) {
        self.saw(outlook);
        let mut inner = self.lock();
        inner.is_idle = false;
        inner.answer = None;
    }

    /// How long to sleep before the next look for a commit that may not ring: twice as long as before the last
    /// one, but no longer than `longest`. A transaction that is open for long is then noticed late, in
    /// proportion, and costs an idle worker few looks.
    pub(crate) fn next_pause(&self, longest: Duration) -> Duration {
        let mut inner = self.lock();
        let pause = inner.pause.min(longest);
        inner.pause = pause.saturating_mul(2);
        pause
    }

    /// Takes the answer of the last claim's look, if the claim found nothing.
    pub(crate) fn take_answer(&self) -> Option<Seen> {
        self.lock().answer.take()
    }

    /// Forgets the last look, because the tables have changed.
    pub(crate) fn forget_looks(&self) {
        let mut inner = self.lock();
        inner.answer = None;
        inner.looked = None;
    }
}

/// How many lanes to ask, and in which order.
impl Pace {
    /// Alternates between true and false: which kind of events gets the odd place of a claim.
    pub(crate) fn next_turn(&self) -> bool {
        let mut inner = self.lock();
        inner.is_odd = !inner.is_odd;
        inner.is_odd
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lock().lanes
    }

    pub(crate) fn set_lanes(&self, lanes: usize) {
        self.lock().lanes = lanes.clamp(1, LANES);
    }

    /// Whether a claim from one lane may continue a window that is being read. Regularly it may not, or
    /// lanes without an open window would starve.
    pub(crate) fn may_continue(&self) -> bool {
        let mut inner = self.lock();
        inner.continued = (inner.continued + 1) % CONTINUED;
        inner.continued > 0
    }

    /// The lane that a claim which continues a window tries first: the one after that of the last such claim.
    pub(crate) fn next_lane(&self) -> i16 {
        self.lock().next_lane
    }

    pub(crate) fn continued(&self, lane: i16) {
        self.lock().next_lane = lane + 1;
    }

    /// The window of the lane was started, so the next such claim tries it first.
    pub(crate) fn opened(&self, lane: i16) {
        self.lock().next_lane = lane;
    }

    /// Whether the last claim that continues a window found one. While events wait for others there is none.
    pub(crate) fn finds_windows(&self) -> bool {
        self.lock().finds_windows
    }

    pub(crate) fn set_finds_windows(&self, finds: bool) {
        self.lock().finds_windows = finds;
    }

    pub(crate) fn has_run(&self) -> bool {
        self.lock().has_run
    }

    /// After the first claim of a run, the next one asks all lanes.
    pub(crate) fn set_has_run(&self, has_run: bool) {
        let mut inner = self.lock();
        if has_run && !inner.has_run {
            inner.continued = CONTINUED - 1;
        }
        inner.has_run = has_run;
    }

    /// Whether the last claim found many events that must wait, so that a page of them should be moved. That
    /// takes much longer than a claim, so most of the time is left to claims from other lanes.
    pub(crate) fn may_park(&self) -> bool {
        let inner = self.lock();
        let is_early = inner.park_at.is_some_and(|at| Instant::now() < at);
        inner.found_waiting && !is_early
    }

    /// Notes how long it took to move a page.
    pub(crate) fn parked(&self, time: Duration) {
        self.lock().park_at = Some(Instant::now() + PARKING * time);
    }

    pub(crate) fn set_found_waiting(&self, found_waiting: bool) {
        self.lock().found_waiting = found_waiting;
    }
}

/// When to renew tables.
impl Pace {
    /// Whether to check the size of the lanes after this settlement.
    pub(crate) fn may_renew_lanes(&self) -> bool {
        let mut inner = self.lock();
        inner.settlements = (inner.settlements + 1) % SETTLEMENTS;
        inner.settlements == 0 && is_over(inner.lanes_failed)
    }

    /// Whether to check the size of the log.
    pub(crate) fn may_renew_events(&self) -> bool {
        is_over(self.lock().events_failed)
    }

    /// The lanes could not be renewed: workers are not blocked again for a while.
    pub(crate) fn lanes_failed(&self) {
        self.lock().lanes_failed = Some(Instant::now());
    }

    /// The log could not be renewed: producers are not blocked again for a while.
    pub(crate) fn events_failed(&self) {
        self.lock().events_failed = Some(Instant::now());
    }
}

fn is_over(failed: Option<Instant>) -> bool {
    failed.is_none_or(|since| since.elapsed() > RENEWAL)
}

impl Pace {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
