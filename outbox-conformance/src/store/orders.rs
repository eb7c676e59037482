//! Two pieces of work in every order of their calls.

use super::steps::Steps;
use crate::case::progress;
use std::fmt::{self, Display, Formatter};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

/// A tick or a pass under way, which stops before each of its calls.
pub(super) struct Walk<'w> {
    work: Pin<Box<dyn Future<Output = usize> + Send + 'w>>,
    steps: &'w Arc<Steps>,
    result: Option<usize>,
}

impl<'w> Walk<'w> {
    pub(super) fn new(
        steps: &'w Arc<Steps>,
        work: impl Future<Output = usize> + Send + 'w,
    ) -> Self {
        Self {
            work: Box::pin(work),
            steps,
            result: None,
        }
    }

    /// Runs until just before its next call, or to its end.
    async fn step(&mut self) {
        let before = self.steps.taken();
        self.result = poll_fn(|context| match self.work.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if self.steps.taken() > before => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await;
    }
}

/// Every order of two walks, one after another: the last choice that was not made the other way is
/// made so in the next.
#[derive(Default)]
pub(super) struct Orders {
    choices: Vec<bool>,
    place: usize,
    played: usize,
}

impl Orders {
    /// Moves to the next order; `false` after the last.
    pub(super) fn next(&mut self) -> bool {
        self.place = 0;
        if self.played == 0 {
            return true;
        }
        while self.choices.pop_if(|choice| *choice).is_some() {}
        let Some(last) = self.choices.last_mut() else {
            return false;
        };
        *last = true;
        true
    }

    /// Plays two walks to their ends in this order, with `between` after each step, and returns
    /// their results.
    pub(super) async fn play(
        &mut self,
        mut walks: [Walk<'_>; 2],
        between: impl AsyncFn(),
    ) -> [usize; 2] {
        self.played += 1;
        progress!("{} orders played", self.played);
        for walk in &mut walks {
            walk.step().await;
        }
        loop {
            let turn = match walks.each_ref().map(|walk| walk.result) {
                [Some(one), Some(two)] => return [one, two],
                [Some(_), None] => 1,
                [None, Some(_)] => 0,
                [None, None] => usize::from(self.choose()),
            };
            walks[turn].step().await;
            between().await;
        }
    }

    fn choose(&mut self) -> bool {
        if self.place == self.choices.len() {
            self.choices.push(false);
        }
        self.place += 1;
        self.choices[self.place - 1]
    }

    pub(super) fn print(&self, who: &str, lease_ends: bool) {
        let orders = self.played;
        println!("{who}, leases end at each step: {lease_ends}: {orders} orders");
    }
}

/// Whose turn it was, from 1, while both had calls to make.
impl Display for Orders {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut turns = self.choices.iter().map(|&second| 1 + u8::from(second));
        turns.try_for_each(|turn| write!(f, "{turn}"))
    }
}
