//! The steps of the protocol.

use super::{Action, Answer, Claim, ENDED_ONCE, Fault, LONE_BLAMED, Lane, Lanes, State};
use super::{TWICE, Waiting, bit};

impl Lanes {
    pub(super) fn key(&self, event: usize) -> u8 {
        self.events[event].1
    }

    /// Whether a dead letter blocks the event.
    pub(super) fn is_held(&self, state: &State, event: usize) -> bool {
        (0..event).any(|before| {
            state.dead_letters & bit(before) != 0 && self.key(before) == self.key(event)
        })
    }

    pub(super) fn log(&self, lane: usize) -> Vec<usize> {
        let own = |event: &usize| self.events[*event].0 == lane;
        (0..self.events.len()).filter(own).collect()
    }

    /// The rows of the log that a claim of the lane has.
    pub(super) fn read(&self, state: &State, lane: usize) -> Vec<usize> {
        let Lane {
            position, reads, ..
        } = state.lanes[lane];
        self.log(lane)[position..position + reads].to_vec()
    }

    /// Whether the claim still has all its lanes, by `count(*) … = $5`.
    pub(super) fn may_take(&self, state: &State, claim: &Claim, lane: usize) -> bool {
        let owned = |lane: &&Lane| lane.token == Some(claim.token);
        let all = state.lanes.iter().filter(owned).count() == claim.lanes.len();
        let token = state.lanes[lane].token;
        claim.tried == 0
            && !claim.full
            && !claim.closing
            && (all || self.fault == Fault::LostClaimGoesOn)
            && (token.is_none() || token == Some(claim.token))
    }

    /// The claim of the worker, or the one that it would start.
    pub(super) fn claim(state: &State, worker: usize) -> Claim {
        state.workers[worker].clone().unwrap_or_else(|| Claim {
            token: state.tokens,
            ..Claim::default()
        })
    }

    /// Due events that a claim of the lane may take, with the events that wait for them.
    pub(super) fn due(&self, state: &State, lane: usize, limit: usize) -> Vec<usize> {
        let held = &state.lanes[lane].held;
        let mut due = Vec::new();
        for (at, head) in state.waiting.iter().enumerate() {
            let (own, key) = self.events[head.event];
            if own != lane || head.suspect || !head.is_due() || held.contains(&head.event) {
                continue;
            }
            due.push(head.event);
            let behind = state.waiting[at + 1..].iter();
            let same = behind.filter(|next| self.key(next.event) == key);
            let open = |next: &&Waiting| !next.suspect && !self.is_held(state, next.event);
            due.extend(same.take_while(open).map(|next| next.event));
        }
        due.truncate(limit);
        due
    }

    pub(super) fn suspect(&self, state: &State, lane: usize) -> Option<usize> {
        let suspect = |waiting: &&Waiting| {
            self.events[waiting.event].0 == lane
                && waiting.suspect
                && waiting.is_due()
                && (waiting.kept.is_none() || self.fault != Fault::KeptIsLeft)
        };
        state
            .waiting
            .iter()
            .find(suspect)
            .map(|waiting| waiting.event)
    }

    pub(super) fn takes(&self, state: &State, worker: usize, actions: &mut Vec<Action>) {
        let claim = Self::claim(state, worker);
        let room = self.limit - claim.given.len().min(self.limit);
        let answers = if state.faults > 0 {
            &[true, false][..]
        } else {
            &[true]
        };
        for (lane, it) in state.lanes.iter().enumerate() {
            if !self.may_take(state, &claim, lane) {
                continue;
            }
            let ahead = self.log(lane).len() - it.position;
            let due = self.due(state, lane, room).len();
            for &answered in answers {
                if it.reads == 0 {
                    actions.extend((1..=ahead.min(room)).map(|count| Action::ReadLog {
                        worker,
                        lane,
                        count,
                        answered,
                    }));
                }
                actions.extend((1..=due).map(|count| Action::TakeRetries {
                    worker,
                    lane,
                    count,
                    answered,
                }));
                let free = it.token.is_none() && claim.given.is_empty();
                if free && self.suspect(state, lane).is_some() {
                    actions.push(Action::TakeSuspect {
                        worker,
                        lane,
                        answered,
                    });
                }
            }
        }
    }

    pub(super) fn take(state: &mut State, worker: usize, lane: usize) -> Claim {
        let claim = Self::claim(state, worker);
        state.tokens = state.tokens.max(claim.token + 1);
        state.lanes[lane].token = Some(claim.token);
        claim
    }

    /// The effect of a statement whose reply arrives: the worker has these events, or lets them wait.
    pub(super) fn add(
        &self,
        state: &mut State,
        worker: usize,
        mut claim: Claim,
        lane: usize,
        took: &[usize],
    ) {
        for &event in took {
            let key = self.key(event);
            let of_key = |other: &usize| self.key(*other) == key;
            let ours = |other: &usize| claim.given.contains(other) || claim.behind.contains(other);
            let waits = claim.waited & bit(event) == 0
                && self.fault != Fault::WaitingIsOvertaken
                && ((state.waiting.iter())
                    .filter(|row| row.kept.is_none() || self.fault != Fault::KeptIsOvertaken)
                    .any(|waiting| of_key(&waiting.event) && !ours(&waiting.event))
                    || self.is_held(state, event));
            if waits || claim.behind.iter().any(of_key) {
                claim.behind.push(event);
            } else {
                claim.given.push(event);
            }
        }
        let reads = state.lanes[lane].reads;
        match claim.lanes.iter_mut().find(|(own, _)| *own == lane) {
            Some((_, read)) => *read = reads,
            None => claim.lanes.push((lane, reads)),
        }
        state.workers[worker] = Some(claim);
    }

    pub(super) fn publish(&self, state: &mut State, worker: usize, answer: Answer) {
        let fresh = self.faults == state.faults;
        let Some(claim) = &mut state.workers[worker] else {
            return;
        };
        let event = claim.given[claim.tried];
        claim.tried += 1;
        match answer {
            Answer::Taken => {}
            Answer::Hangs => claim.hung |= bit(event),
            _ => claim.failed |= bit(event),
        }
        if answer == Answer::Dead {
            claim.dead |= bit(event);
        }
        if matches!(answer, Answer::Taken | Answer::ReplyLost) {
            if fresh && state.delivered & bit(event) != 0 {
                state.wrong = Some(TWICE);
            }
            state.delivered |= bit(event);
        }
        // After a failure, or during a call that hangs, later events of the key are not tried.
        while let Some(&next) = claim.given.get(claim.tried) {
            let failed = |event: &&usize| (claim.failed | claim.hung) & bit(**event) != 0;
            let mut failures = claim.given.iter().filter(failed);
            if !failures.any(|event| self.key(*event) == self.key(next)) {
                break;
            }
            claim.tried += 1;
        }
    }

    pub(super) fn settle(&self, state: &mut State, worker: usize, answered: bool) {
        let Some(mut claim) = state.workers[worker].take() else {
            return;
        };
        let own = |(lane, _): &(usize, usize)| state.lanes[*lane].token == Some(claim.token);
        if !claim.closing && self.fault != Fault::NoFence && !claim.lanes.iter().all(own) {
            return;
        }
        if self.fault == Fault::LanesGivenBackFirst && !claim.closing {
            for (lane, _) in &claim.lanes {
                let position = state.lanes[*lane].position;
                state.lanes[*lane] = Lane {
                    position,
                    ..Lane::default()
                };
            }
            claim.closing = true;
            state.workers[worker] = Some(claim);
            return;
        }
        if !self.end_kept(state, &claim) {
            return;
        }
        for &(lane, reads) in &claim.lanes {
            Self::end(state, claim.token, lane);
            let position = (state.lanes[lane].position + reads).min(self.log(lane).len());
            state.lanes[lane] = Lane {
                position,
                ..Lane::default()
            };
        }
        self.apply(state, &claim);
        claim.full = self.fault != Fault::SettledClaimGoesOn;
        state.workers[worker] = if answered {
            Self::rest(&claim)
        } else {
            Some(Self::repeated(claim))
        };
    }

    /// Publishes, parks and parks again, as in `plan.rs`.
    pub(super) fn apply(&self, state: &mut State, claim: &Claim) {
        let stopped = claim.failed | claim.hung;
        let tried = |event: usize| {
            let failures = claim.given.iter().position(|given| *given == event);
            failures.is_some_and(|at| {
                let key = self.key(event);
                let before = &claim.given[..at];
                !before
                    .iter()
                    .any(|other| self.key(*other) == key && stopped & bit(*other) != 0)
            })
        };
        self.keep(state, claim);
        let answered = |event: &&usize| claim.hung & bit(**event) == 0;
        for &event in (claim.given.iter().chain(&claim.behind)).filter(answered) {
            let waited = claim.waited & bit(event) != 0;
            let charged = claim.failed & bit(event) != 0;
            if tried(event) {
                state.lost &= !bit(event);
            }
            if claim.dead & bit(event) != 0 {
                state.dead_letters |= bit(event);
                state.waiting.retain(|waiting| waiting.event != event);
            } else if tried(event) && !charged {
                if waited {
                    state.waiting.retain(|waiting| waiting.event != event);
                }
            } else if waited {
                let rows = state.waiting.iter_mut();
                for row in rows.filter(|row| row.event == event) {
                    row.due = false;
                    row.suspect &= !charged;
                    row.worker_lost &= !charged;
                    row.kept = None;
                }
            } else {
                state.waiting.push(Waiting::new(event));
            }
        }
        self.promote(state);
    }

    /// The first waiting event of each key becomes due, unless a dead letter blocks it.
    pub(super) fn promote(&self, state: &mut State) {
        let mut keys = Vec::new();
        let events: Vec<usize> = state.waiting.iter().map(|waiting| waiting.event).collect();
        for (at, event) in events.into_iter().enumerate() {
            let key = self.key(event);
            if !keys.contains(&key) {
                let is_held = self.is_held(state, event) && self.fault != Fault::HeldIsDue;
                state.waiting[at].due = !is_held;
                keys.push(key);
            }
        }
    }

    pub(super) fn end(state: &mut State, token: u8, lane: usize) {
        if state.ended.contains(&(token, lane)) {
            state.wrong = Some(ENDED_ONCE);
        } else {
            state.ended.push((token, lane));
            state.ended.sort_unstable();
        }
    }

    pub(super) fn take_back(&self, state: &mut State, token: u8) {
        let own = |lane: &usize| state.lanes[*lane].token == Some(token);
        let lanes: Vec<usize> = (0..self.count).filter(own).collect();
        let mut lost = Vec::new();
        for &lane in &lanes {
            Self::end(state, token, lane);
            lost.extend(state.lanes[lane].held.clone());
            let rows = self.read(state, lane);
            let mut position = state.lanes[lane].position;
            if self.fault != Fault::LostIsReadAgain {
                position += rows.len();
            }
            let parks = !matches!(self.fault, Fault::LostIsReadAgain | Fault::LostIsSkipped);
            for &event in rows.iter().filter(|_| parks) {
                state.waiting.push(Waiting::new(event));
            }
            lost.extend(rows);
            state.lanes[lane] = Lane {
                position,
                ..Lane::default()
            };
        }
        let blamed = lost.len() == 1 || self.fault == Fault::AllAreBlamed;
        let rows = state.waiting.iter_mut();
        for row in rows.filter(|row| lost.contains(&row.event)) {
            row.suspect = true;
            row.worker_lost |= blamed;
            if blamed && lost.len() > 1 {
                state.wrong = Some(LONE_BLAMED);
            }
        }
        state.lost |= lost.iter().fold(0, |set, event| set | bit(*event));
        self.promote(state);
    }

    pub(super) fn is_complete(&self, state: &State) -> bool {
        let all = |lane: usize| state.lanes[lane].position == self.log(lane).len();
        state.delivered | state.purged == bit(self.events.len()) - 1
            && state.waiting.is_empty()
            && (0..self.count).all(|lane| all(lane) && state.lanes[lane].token.is_none())
            && state.workers.iter().all(Option::is_none)
    }

    pub(super) fn steps(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        for (worker, claim) in state.workers.iter().enumerate() {
            self.takes(state, worker, &mut actions);
            let Some(claim) = claim else { continue };
            if claim.tried < claim.given.len() {
                actions.push(Action::Publish(worker, Answer::Taken));
                if state.refusals > 0 {
                    actions.push(Action::Publish(worker, Answer::Refused));
                }
                if state.deaths > 0 {
                    actions.push(Action::Publish(worker, Answer::Dead));
                }
                if state.faults > 0 {
                    actions.push(Action::Publish(worker, Answer::ReplyLost));
                }
                if state.hangs > 0 {
                    actions.push(Action::Publish(worker, Answer::Hangs));
                }
            } else {
                actions.push(Action::Settle {
                    worker,
                    answered: true,
                });
                if state.faults > 0 {
                    actions.push(Action::Settle {
                        worker,
                        answered: false,
                    });
                }
            }
            if state.faults > 0 {
                actions.push(Action::Crash(worker));
            }
        }
        Self::lapses_of_kept(state, &mut actions);
        let dead_letters =
            (0..self.events.len()).filter(|event| state.dead_letters & bit(*event) != 0);
        actions.extend(dead_letters.map(Action::Purge));
        for (lane, it) in state.lanes.iter().enumerate() {
            match it.token {
                Some(_) if it.lapsed && self.fault == Fault::LostIsLeft => {}
                Some(token) if it.lapsed => actions.push(Action::TakeBack(token)),
                Some(token) if state.faults > 0 || !Self::has_worker(state, token, lane) => {
                    actions.push(Action::Lapse(lane));
                }
                _ => {}
            }
        }
        actions
    }

    pub(super) fn has_worker(state: &State, token: u8, lane: usize) -> bool {
        let mut claims = state.workers.iter().flatten();
        claims.any(|claim| claim.token == token && claim.lanes.iter().any(|(own, _)| *own == lane))
    }

    /// The reply to a statement of the claim is lost: the worker continues with the events that it has.
    pub(super) fn fail(state: &mut State, worker: usize) {
        state.faults -= 1;
        if let Some(claim) = &mut state.workers[worker] {
            claim.full = true;
        }
    }

    pub(super) fn hold(
        &self,
        state: &mut State,
        worker: usize,
        lane: usize,
        took: &[usize],
        answered: bool,
    ) {
        let mut claim = Self::take(state, worker, lane);
        state.lanes[lane].held.extend(took);
        Self::release_kept(state, took);
        if answered {
            claim.waited |= took.iter().fold(0, |set, event| set | bit(*event));
            self.add(state, worker, claim, lane, took);
        } else {
            Self::fail(state, worker);
        }
    }
}
