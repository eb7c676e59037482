//! `outbox dlq show`.

use super::{dead_letter, missing};
use crate::cli::ShowOptions;
use crate::failure::Failure;
use crate::terminal::{block, line, print};
use crate::time::seconds;
use crate::wiring;
use outbox_core::{DeadLetter, Event};

pub(super) async fn run(options: &ShowOptions) -> Result<(), Failure> {
    let store = wiring::open_store(&options.store.url()?, false).await?;
    let found = store.dead_letters.find(options.id).await?;
    let (dead_letter, event) = found.ok_or_else(|| missing(options.id))?;
    if options.json {
        return print(dead_letter::json(&dead_letter, &event)?);
    }
    for (name, value) in facts(&dead_letter, &event) {
        print(format_args!("{name:<12} {}", line(&value)))?;
    }
    print(block(&String::from_utf8_lossy(&event.payload)))
}

fn facts(dead_letter: &DeadLetter, event: &Event) -> Vec<(&'static str, String)> {
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let mut facts = vec![
        ("id", event.id.to_string()),
        ("type", event.event_type.clone()),
        ("key", or_dash(event.ordering_key.as_deref())),
        ("created", seconds(event.created_at)),
        ("quarantined", seconds(dead_letter.quarantined_at)),
        ("failed", format!("{} times", dead_letter.failure_count)),
        ("replayed", format!("{} times", dead_letter.replays)),
        ("last error", or_dash(dead_letter.last_error.as_deref())),
    ];
    for (name, value) in &event.headers {
        facts.push(("header", format!("{name}: {value}")));
    }
    let bytes = event.payload.len();
    facts.push(("content", format!("{} ({bytes} bytes)", event.content_type)));
    facts
}
