//! `outbox completions`.

use crate::cli::{Cli, CompletionsOptions};
use crate::failure::Failure;
use clap::CommandFactory;
use std::io::Write;

pub(crate) fn run(options: &CompletionsOptions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "outbox", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(())
}
