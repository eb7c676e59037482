//! `outbox dlq list`.

use super::dead_letter;
use super::pages::Pages;
use crate::cli::ListOptions;
use crate::failure::Failure;
use crate::log::note;
use crate::terminal::{counted, line, print};
use crate::time::seconds;
use crate::wiring;
use outbox_core::DeadLetter;

pub(super) async fn run(options: &ListOptions) -> Result<(), Failure> {
    let store = wiring::open_store(&options.store.url()?).await?;
    let filter = options.filter.filter();
    let mut pages = Pages::new(&*store.dead_letters, &filter)
        .after(options.after)
        .at_most(options.limit);
    let (mut count, mut last) = (0, None);
    let mut has_headings = options.json;
    loop {
        let page = pages.next().await?;
        if !has_headings {
            has_headings = true;
            print(HEADINGS)?;
        }
        let Some(end) = page.last() else { break };
        (count, last) = (count + page.len(), Some(end.position));
        for dead_letter in &page {
            print(if options.json {
                dead_letter::summary_json(dead_letter)?
            } else {
                row(dead_letter)
            })?;
        }
    }
    if !options.json {
        match last.filter(|_| count == options.limit) {
            Some(last) => note(format_args!("more: --after {last}")),
            None => note(format_args!("{}", counted(count as u64, "dead letter"))),
        }
    }
    Ok(())
}

const HEADINGS: &str = "POSITION  QUARANTINED           ID                                    \
                        FAILURES  TYPE                  KEY                   LAST ERROR";

fn row(dead_letter: &DeadLetter) -> String {
    format!(
        "{:>8}  {}  {}  {:>8}  {:<20}  {:<20}  {}",
        dead_letter.position,
        seconds(dead_letter.quarantined_at),
        dead_letter.id,
        dead_letter.failure_count,
        line(&dead_letter.event_type),
        line(dead_letter.ordering_key.as_deref().unwrap_or("-")),
        line(dead_letter.last_error.as_deref().unwrap_or("-")),
    )
}
