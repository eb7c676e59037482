//! `outbox dlq`: a file for each thing that an operator does with dead letters.

mod change;
mod dead_letter;
mod export;
mod list;
mod pages;
mod report;
mod show;
mod stats;

use crate::cli::DlqCommand;
use crate::failure::Failure;
use outbox_core::EventId;

pub(crate) async fn run(command: &DlqCommand) -> Result<(), Failure> {
    match command {
        DlqCommand::List(options) => list::run(options).await,
        DlqCommand::Show(options) => show::run(options).await,
        DlqCommand::Stats(options) => stats::run(options).await,
        DlqCommand::Export(options) => export::run(options).await,
        DlqCommand::Replay(options) => change::replay(options).await,
        DlqCommand::Purge(options) => change::purge(options).await,
    }
}

fn missing(id: EventId) -> Failure {
    Failure::Failed(format!("no dead letter has the id {id}"))
}
