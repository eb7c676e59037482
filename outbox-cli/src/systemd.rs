//! What a relay reports to systemd, for a unit with `Type=notify`. Elsewhere it reports nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The stores of a process that starts. When the last of them has been opened, or is to be tried again later,
/// the process is ready.
#[derive(Clone, Debug)]
pub(crate) struct Starting(Arc<AtomicUsize>);

impl Starting {
    pub(crate) fn of(stores: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(stores)))
    }

    /// Notes that one more of them has started.
    pub(crate) fn started(self) {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            report(State::Ready);
        }
    }
}

/// What happens to the process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    /// It runs.
    Ready,
    /// It reads its configuration again. [`Ready`](Self::Ready) follows.
    Reloading,
    /// It ends within its grace time.
    Stopping,
}

/// A service manager that does not listen stops no relay.
#[cfg(unix)]
pub(crate) fn report(state: State) {
    if let Err(error) = notify(state) {
        tracing::debug!(%error, ?state, "systemd is not reached");
    }
}

#[cfg(not(unix))]
pub(crate) fn report(_: State) {}

#[cfg(unix)]
fn notify(state: State) -> std::io::Result<()> {
    use sd_notify::NotifyState;
    match state {
        State::Ready => sd_notify::notify(&[NotifyState::Ready]),
        State::Reloading => {
            let now = NotifyState::monotonic_usec_now()?;
            sd_notify::notify(&[NotifyState::Reloading, now])
        }
        State::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
    }
}
