//! `outbox dlq list`.

use super::letter;
use super::pages::Pages;
use crate::cli::ListOptions;
use crate::failure::Failure;
use crate::log::note;
use crate::terminal::{line, print};
use crate::time::seconds;
use crate::wiring;
use outbox_core::DeadLetter;

pub(super) async fn run(options: &ListOptions) -> Result<(), Failure> {
    let store = wiring::open_store(&options.store.url()?, false).await?;
    let filter = options.filter.filter();
    let mut pages = Pages::new(&*store.letters, &filter)
        .after(options.after)
        .at_most(options.limit);
    let (mut count, mut last) = (0, None);
    loop {
        let page = pages.next().await?;
        let Some(end) = page.last() else { break };
        (count, last) = (count + page.len(), Some(end.position));
        for letter in &page {
            print(if options.json {
                letter::summary_json(letter)?
            } else {
                row(letter)
            })?;
        }
    }
    if !options.json {
        match last.filter(|_| count == options.limit) {
            Some(last) => note(format_args!("more: --after {last}")),
            None => note(format_args!("{count} dead letters")),
        }
    }
    Ok(())
}

fn row(letter: &DeadLetter) -> String {
    format!(
        "{:>5}  {}  {}  {:<14} {:>2} failed  {}",
        letter.position,
        seconds(letter.quarantined_at),
        letter.id,
        line(&letter.event_type),
        letter.failure_count,
        line(letter.last_error.as_deref().unwrap_or("-")),
    )
}
