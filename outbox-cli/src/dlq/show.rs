//! `outbox dlq show`.

use super::{letter, missing};
use crate::cli::ShowOptions;
use crate::failure::Failure;
use crate::terminal::{block, line, print};
use crate::time::seconds;
use crate::wiring;
use outbox_core::{DeadLetter, Event};

pub(super) async fn run(options: &ShowOptions) -> Result<(), Failure> {
    let store = wiring::open_store(&options.store.url()?, false).await?;
    let found = store.letters.find(options.id).await?;
    let (letter, event) = found.ok_or_else(|| missing(options.id))?;
    if options.json {
        return print(letter::json(&letter, &event)?);
    }
    for (name, value) in facts(&letter, &event) {
        print(format_args!("{name:<12} {}", line(&value)))?;
    }
    print(block(&String::from_utf8_lossy(&event.payload)))
}

fn facts(letter: &DeadLetter, event: &Event) -> Vec<(&'static str, String)> {
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let mut facts = vec![
        ("id", event.id.to_string()),
        ("type", event.event_type.clone()),
        ("key", or_dash(event.ordering_key.as_deref())),
        ("created", seconds(event.created_at)),
        ("quarantined", seconds(letter.quarantined_at)),
        ("failed", format!("{} times", letter.failure_count)),
        ("replayed", format!("{} times", letter.replays)),
        ("last error", or_dash(letter.last_error.as_deref())),
    ];
    for (name, value) in &event.headers {
        facts.push(("header", format!("{name}: {value}")));
    }
    let bytes = event.payload.len();
    facts.push(("content", format!("{} ({bytes} bytes)", event.content_type)));
    facts
}
