//! A simulated wire: a call needs one piece for its request, and gets a reply of a few bytes.

use async_trait::async_trait;
use outbox_conformance::Wire;
use outbox_core::{ErrorKind, OutboxError};
use std::future::pending;
use std::sync::{Mutex, MutexGuard, PoisonError};

const REPLY: usize = 2;

type Done<T> = Result<T, OutboxError>;

#[derive(Debug, Default)]
pub(crate) struct Line(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    cut: Option<Cut>,
    has_cut: bool,
    /// It was cut before: what a client that never comes back goes by.
    is_worn: bool,
}

#[derive(Clone, Copy, Debug)]
enum Cut {
    Request(usize),
    Reply(usize),
}

/// How a client takes a cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// What it calls one.
    pub(crate) kind: ErrorKind,
    /// It never comes back.
    pub(crate) stays_down: bool,
}

/// What happens to a call, and the error that its caller gets.
pub(crate) enum Fate {
    Passes,
    NeverArrives(OutboxError),
    ReplyIsLost(OutboxError),
}

impl Line {
    /// Makes `call`, unless the wire is cut before it; if it is cut then, `lost` gets the reply
    /// that the caller does not.
    pub(crate) async fn carry<T>(
        &self,
        manner: Manner,
        call: impl Future<Output = Done<T>>,
        lost: impl AsyncFnOnce(T) -> Done<()>,
    ) -> Done<T> {
        match self.fate(manner) {
            Fate::Passes => call.await,
            Fate::NeverArrives(error) => Err(error),
            Fate::ReplyIsLost(error) => {
                lost(call.await?).await?;
                Err(error)
            }
        }
    }

    /// What happens to the next call.
    pub(crate) fn fate(&self, manner: Manner) -> Fate {
        let error = OutboxError::new(manner.kind, "saboteur", "call");
        if manner.stays_down && self.state().is_worn {
            return Fate::NeverArrives(error);
        }
        match self.next() {
            None => Fate::Passes,
            Some(Cut::Request(_)) => Fate::NeverArrives(error),
            Some(Cut::Reply(_)) => Fate::ReplyIsLost(error),
        }
    }

    /// The cut, if it is to happen now.
    fn next(&self) -> Option<Cut> {
        let mut state = self.state();
        let (happens, left) = match state.cut? {
            Cut::Request(0) => (true, Cut::Request(0)),
            Cut::Request(pieces) => (false, Cut::Request(pieces - 1)),
            Cut::Reply(bytes) if bytes < REPLY => (true, Cut::Reply(bytes)),
            Cut::Reply(bytes) => (false, Cut::Reply(bytes - REPLY)),
        };
        state.cut = (!happens).then_some(left);
        state.has_cut |= happens;
        state.is_worn |= happens;
        happens.then_some(left)
    }

    fn begin(&self, cut: Cut) {
        let mut state = self.state();
        state.cut = Some(cut);
        state.has_cut = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Wire for Line {
    fn cut_request(&self, pieces: usize) {
        self.begin(Cut::Request(pieces));
    }

    fn cut_reply(&self, bytes: usize) {
        self.begin(Cut::Reply(bytes));
    }

    fn cut_all(&self) {}

    fn hold_replies(&self) {}

    fn hold_all(&self) {}

    fn has_held(&self) -> bool {
        false
    }

    async fn held(&self) {
        pending::<()>().await;
    }

    fn repair(&self) -> bool {
        let mut state = self.state();
        state.cut = None;
        std::mem::take(&mut state.has_cut)
    }
}
