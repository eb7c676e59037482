//! Events that a settlement keeps: `keep.rs`, `still_kept.sql` and `claim_suspect.sql`.
//!
//! The rows of a claim's kept events name its token, and the claim has no lane any more. A worker of the model
//! has only that claim then; the other worker takes the events that are free.

use super::{Action, Claim, Fault, Kept, LONE_BLAMED, Lanes, Rest, State, Waiting};
use super::{bit, kept_event};

impl Waiting {
    /// A row that only waits for its turn.
    pub(super) fn new(event: usize) -> Self {
        Self {
            event,
            due: false,
            suspect: false,
            worker_lost: false,
            kept: None,
        }
    }

    fn is_kept_by(&self, token: u8) -> bool {
        self.kept.is_some_and(|kept| kept.token == token)
    }

    pub(super) fn is_due(&self) -> bool {
        self.due && self.kept.is_none_or(|kept| kept.lapsed)
    }
}

impl Lanes {
    /// Moves the events whose calls hang to the retries, or leaves them there.
    pub(super) fn keep(&self, state: &mut State, claim: &Claim) {
        let lone = Self::is_lone(claim);
        let blamed = lone || self.fault == Fault::AllAreBlamed;
        let hangs = |event: &&usize| claim.hung & bit(**event) != 0;
        for &event in claim.given.iter().filter(hangs) {
            if blamed && !lone {
                state.wrong = Some(LONE_BLAMED);
            }
            if !state.waiting.iter().any(|row| row.event == event) {
                state.waiting.push(Waiting::new(event));
            }
            for row in state.waiting.iter_mut().filter(|row| row.event == event) {
                row.due = false;
                row.suspect = self.fault != Fault::KeptIsNoSuspect;
                row.worker_lost |= blamed;
                row.kept = Some(Kept {
                    token: claim.token,
                    lapsed: self.fault == Fault::KeptIsDue,
                });
            }
        }
    }

    /// The claim of the events that a settlement keeps.
    pub(super) fn rest(claim: &Claim) -> Option<Claim> {
        let hangs = |event: &&usize| claim.hung & bit(**event) != 0;
        let given: Vec<usize> = claim.given.iter().filter(hangs).copied().collect();
        (!given.is_empty()).then(|| Claim {
            token: claim.token,
            given,
            waited: claim.hung,
            rest: Some(Rest {
                lone: Self::is_lone(claim),
                ..Rest::default()
            }),
            full: true,
            ..Claim::default()
        })
    }

    /// A claim whose settlement had no answer.
    pub(super) fn repeated(mut claim: Claim) -> Claim {
        if let Some(rest) = &mut claim.rest {
            rest.repeats = true;
        }
        claim
    }

    fn is_lone(claim: &Claim) -> bool {
        (claim.rest).map_or(claim.given.len() == 1, |rest| rest.lone)
    }

    /// Whether a late settlement is applied: `still_kept.sql`. No event of the model is deleted by hand.
    fn is_still_kept(&self, state: &State, claim: &Claim) -> bool {
        let rows = state.waiting.iter();
        let rows = rows.filter(|row| claim.given.contains(&row.event));
        let rows: Vec<_> = rows.collect();
        let ours = rows.iter().all(|row| row.is_kept_by(claim.token));
        let is_over = claim.rest.is_some_and(|rest| rest.over);
        let by_hand = !is_over || self.fault == Fault::MissingIsDeleted;
        self.fault == Fault::KeptIsNotFenced || ours && (rows.len() == claim.given.len() || by_hand)
    }

    /// A late settlement ends the claim for the events that it does not keep again. Returns false if it is
    /// refused, because another claim has taken one of its events.
    pub(super) fn end_kept(&self, state: &mut State, claim: &Claim) -> bool {
        let Some(rest) = claim.rest else { return true };
        if !self.is_still_kept(state, claim) {
            return false;
        }
        let answered = |event: &&usize| claim.hung & bit(**event) == 0;
        for &event in claim.given.iter().filter(answered) {
            if !rest.repeats {
                Self::end(state, claim.token, kept_event(event));
            }
        }
        true
    }

    /// A claim takes these rows of the retries. They are not kept any more.
    pub(super) fn release_kept(state: &mut State, took: &[usize]) {
        let mut keepers = Vec::new();
        let rows = state.waiting.iter_mut();
        for row in rows.filter(|row| took.contains(&row.event)) {
            keepers.extend(row.kept.take().map(|kept| (kept.token, row.event)));
        }
        for (token, event) in keepers {
            Self::end(state, token, kept_event(event));
        }
    }

    /// The leases of kept events that can end now. That is a fault while their worker lives.
    pub(super) fn lapses_of_kept(state: &State, actions: &mut Vec<Action>) {
        let kept = state.waiting.iter().filter_map(|row| row.kept);
        let running = kept.filter(|kept| !kept.lapsed);
        let mut tokens: Vec<u8> = running.map(|kept| kept.token).collect();
        tokens.dedup();
        tokens.retain(|token| state.faults > 0 || !Self::has_keeper(state, *token));
        actions.extend(tokens.into_iter().map(Action::LapseKept));
    }

    pub(super) fn lapse_kept(state: &mut State, token: u8) {
        state.faults -= u8::from(Self::has_keeper(state, token));
        for row in &mut state.waiting {
            if let Some(kept) = row.kept.as_mut().filter(|kept| kept.token == token) {
                kept.lapsed = true;
                state.lost |= bit(row.event);
            }
        }
        let claims = state.workers.iter_mut().flatten();
        for claim in claims.filter(|claim| claim.token == token) {
            if let Some(rest) = &mut claim.rest {
                rest.over = true;
            }
        }
    }

    fn has_keeper(state: &State, token: u8) -> bool {
        let mut claims = state.workers.iter().flatten();
        claims.any(|claim| claim.rest.is_some() && claim.token == token)
    }
}
