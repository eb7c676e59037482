//! `outbox dlq stats`.

use crate::cli::StatsOptions;
use crate::failure::Failure;
use crate::log::note;
use crate::terminal::{line, print};
use crate::time::seconds;
use crate::wiring;
use serde_json::json;

pub(super) async fn run(options: &StatsOptions) -> Result<(), Failure> {
    let store = wiring::open_store(&options.store.url()?, false).await?;
    let filter = options.filter.filter();
    let groups = store
        .dead_letters
        .statistics(&filter, options.limit)
        .await?;
    for group in &groups {
        let oldest = seconds(group.oldest);
        let newest = seconds(group.newest);
        if options.json {
            print(json!({
                "type": group.event_type,
                "last_error": group.last_error.as_deref(),
                "count": group.count,
                "oldest": oldest,
                "newest": newest,
            }))?;
        } else {
            print(format_args!(
                "{:>7}  {oldest}  {newest}  {:<14} {}",
                group.count,
                line(&group.event_type),
                line(group.last_error.as_deref().unwrap_or("-")),
            ))?;
        }
    }
    if !options.json {
        let dead_letters: u64 = groups.iter().map(|group| group.count).sum();
        note(format_args!(
            "{dead_letters} dead letters in {} groups",
            groups.len()
        ));
    }
    Ok(())
}
