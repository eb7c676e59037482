//! `outbox completions`.

use crate::cli::{Cli, CompletionsOptions};
use crate::failure::Failure;
use crate::terminal;
use clap::CommandFactory;

pub(crate) fn run(options: &CompletionsOptions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "outbox", &mut script);
    terminal::write(String::from_utf8_lossy(&script))
}
