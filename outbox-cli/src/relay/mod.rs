//! `outbox relay`: one process, any number of services, each of which is a store with its relay.

mod drain;
mod orders;
mod runner;
mod service;

use crate::cli::RelayOptions;
use crate::failure::Failure;
use crate::health::{Board, Listener, healthcheck};
use crate::signals::Signals;
use runner::Runner;

/// Ends without an error at the first signal, in every phase of a service, and at once at the
/// second.
pub(crate) async fn run(options: &RelayOptions) -> Result<(), Failure> {
    if let Some(endpoint) = options.healthcheck {
        let failed = |failure: Failure| Failure::Failed(failure.to_string());
        return healthcheck(options.listen().map_err(failed)?, endpoint).await;
    }
    let (first, mut second) = (Signals::listen()?, Signals::listen()?);
    let plan = options.plan()?;
    let board = Board::default();
    let listener = match plan.listen {
        Some(address) => Some(Listener::bind(address, board.clone()).await?),
        None => None,
    };
    let board = listener.is_some().then_some(board);
    let shown = async {
        if let Some(listener) = listener {
            listener.serve().await;
        }
        std::future::pending().await
    };
    let runner = Runner::start(plan, options.drain, board);
    let twice = async {
        second.stop().await;
        second.stop().await;
    };
    tokio::select! {
        result = runner.run(first, || options.plan()) => result,
        never = shown => never,
        () = twice => Err(Failure::Interrupted),
    }
}
