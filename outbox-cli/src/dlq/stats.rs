//! `outbox dlq stats`.

use crate::cli::StatsOptions;
use crate::failure::Failure;
use crate::log::note;
use crate::terminal::{counted, line, print};
use crate::time::{micros, seconds};
use crate::wiring;
use serde_json::json;

pub(super) async fn run(options: &StatsOptions) -> Result<(), Failure> {
    let store = wiring::open_store(&options.store.url()?).await?;
    let filter = options.filter.filter();
    // One more tells whether there are more.
    let limit = options.limit.saturating_add(1);
    let mut groups = store.dead_letters.statistics(&filter, limit).await?;
    let has_more = groups.len() > options.limit;
    groups.truncate(options.limit);
    if !options.json {
        print(HEADINGS)?;
    }
    for group in &groups {
        if options.json {
            print(json!({
                "type": group.event_type,
                "last_error": group.last_error.as_deref(),
                "count": group.count,
                "oldest": micros(group.oldest),
                "newest": micros(group.newest),
            }))?;
        } else {
            print(format_args!(
                "{:>8}  {}  {}  {:<20}  {}",
                group.count,
                seconds(group.oldest),
                seconds(group.newest),
                line(&group.event_type),
                line(group.last_error.as_deref().unwrap_or("-")),
            ))?;
        }
    }
    if !options.json {
        let dead_letters: u64 = groups.iter().map(|group| group.count).sum();
        let shown = counted(dead_letters, "dead letter");
        match (has_more, groups.len() as u64) {
            (false, count) => note(format_args!("{shown} in {}", counted(count, "group"))),
            (true, 1) => note(format_args!(
                "{shown} in the largest group; for more groups pass a larger --limit"
            )),
            (true, count) => note(format_args!(
                "{shown} in the largest {count} groups; for more groups pass a larger --limit"
            )),
        }
    }
    Ok(())
}

const HEADINGS: &str =
    "   COUNT  OLDEST                NEWEST                TYPE                  LAST ERROR";
