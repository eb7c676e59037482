//! A wire between a backend's handle and its store, cut at each place in turn.

use crate::case::progress;
use crate::check::{check, check_eq};
use crate::effort::times;
use async_trait::async_trait;
use outbox_core::{ErrorKind, OutboxError};
use std::cell::Cell;

/// The first bytes of a reply, which are all places to cut at, and the distance of the later places.
const SPREAD: (usize, usize) = (8, 61);

/// The same in a run that is longer than by default.
const LONG_SPREAD: (usize, usize) = (64, 13);

/// From this many times the default length on, every byte is a place to cut at.
const EVERY_BYTE: u32 = 100;

/// What lies between a handle and its store, such as a TCP proxy: [`TcpWire`](crate::TcpWire). A cut
/// is ordered before a call and happens once, on any connection.
#[async_trait]
pub trait Wire: Send + Sync {
    /// Lets the next `pieces` through that are written to the store, and cuts before the one after
    /// them has reached it.
    fn cut_request(&self, pieces: usize);

    /// Lets the next `bytes` through that the store sends, and cuts before the one after them has
    /// reached the handle.
    fn cut_reply(&self, bytes: usize);

    /// Cuts all connections as they are.
    fn cut_all(&self);

    /// Holds back what the store sends, until another fault is set or [`repair`](Self::repair) is
    /// called. No connection is cut, and what was held arrives late.
    fn hold_replies(&self);

    /// Does the same in both directions.
    fn hold_all(&self);

    /// Whether a reply is held back.
    fn has_held(&self) -> bool;

    /// Returns when a reply is held back.
    async fn held(&self);

    /// Ends the fault, and returns whether a connection was cut since the fault was set.
    fn repair(&self) -> bool;
}

/// A cut of one round.
pub(crate) struct Cut<'w> {
    wire: &'w dyn Wire,
    place: Place,
    has_happened: Cell<bool>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Request(usize),
    Reply(usize),
}

impl Cut<'_> {
    /// Runs a call while the wire cuts its request or its reply, and returns the result of the call.
    pub(crate) async fn around<T>(&self, call: impl Future<Output = T>) -> T {
        match self.place {
            Place::Request(pieces) => self.wire.cut_request(pieces),
            Place::Reply(bytes) => self.wire.cut_reply(bytes),
        }
        let result = call.await;
        self.has_happened.set(self.wire.repair());
        result
    }

    /// Whether the call has met it.
    pub(crate) fn has_happened(&self) -> bool {
        self.has_happened.get()
    }

    /// The result of a call that meets the cut. An error must be the cut's.
    pub(crate) async fn during<T>(
        &self,
        call: impl Future<Output = Result<T, OutboxError>>,
    ) -> Result<T, OutboxError> {
        let result = self.around(call).await;
        if let Err(error) = &result {
            let place = self.place;
            check!(
                self.has_happened(),
                "expected a success without a cut at {place:?}, came {error}"
            );
            check_eq!(
                error.kind(),
                ErrorKind::Unavailable,
                "the kind of an error after a cut at {place:?}: {error}"
            );
        }
        result
    }
}

/// Runs `round` with a cut at each place in turn, until a call needs no more than was let through.
pub(crate) async fn at_each_place(wire: &dyn Wire, round: impl AsyncFn(&Cut<'_>)) {
    let (first, distance) = match times() {
        1 => SPREAD,
        2..EVERY_BYTE => LONG_SPREAD,
        _ => (0, 1),
    };
    let step = |bytes: usize| if bytes < first { 1 } else { distance };
    let replies = std::iter::successors(Some(0), |bytes| Some(bytes + step(*bytes)));
    let mut cuts = 0;
    for places in [
        &mut (0..).map(Place::Request) as &mut dyn Iterator<Item = Place>,
        &mut replies.map(Place::Reply),
    ] {
        for place in places {
            let has_happened = Cell::new(false);
            let cut = Cut {
                wire,
                place,
                has_happened,
            };
            round(&cut).await;
            if !cut.has_happened() {
                break;
            }
            cuts += 1;
            progress!("{cuts} cuts survived");
        }
    }
    println!("{cuts} cuts survived");
    check!(
        cuts > 0,
        "the wire was never cut: is it between the handle and its store?"
    );
}
