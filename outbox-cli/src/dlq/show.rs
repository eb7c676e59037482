//! `outbox dlq show`.

use super::{dead_letter, missing};
use crate::cli::ShowOptions;
use crate::failure::Failure;
use crate::terminal::{block, counted, line, print};
use crate::time::micros;
use crate::wiring;
use outbox_core::{DeadLetter, Event};

pub(super) async fn run(options: &ShowOptions) -> Result<(), Failure> {
    let store = wiring::open_store(&options.store.url()?).await?;
    let found = store.dead_letters.find(options.id).await?;
    let (dead_letter, event) = found.ok_or_else(|| missing(options.id))?;
    if options.json {
        return print(dead_letter::json(&dead_letter, &event)?);
    }
    for (name, value) in facts(&dead_letter, &event) {
        let name = format!("{name}:");
        print(format_args!("{name:<15} {}", line(&value)))?;
    }
    print("")?;
    print(block(&String::from_utf8_lossy(&event.payload)))
}

fn facts(dead_letter: &DeadLetter, event: &Event) -> Vec<(&'static str, String)> {
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let times = |count: u32| counted(u64::from(count), "time");
    let mut facts = vec![
        ("id", event.id.to_string()),
        ("type", event.event_type.clone()),
        ("key", or_dash(event.ordering_key.as_deref())),
        ("position", dead_letter.position.to_string()),
        ("created", micros(event.created_at)),
        ("first failure", micros(dead_letter.first_failed_at)),
        ("last failure", micros(dead_letter.last_failed_at)),
        ("quarantined", micros(dead_letter.quarantined_at)),
        ("failed", times(dead_letter.failure_count)),
        ("replayed", times(dead_letter.replays)),
        ("last error", or_dash(dead_letter.last_error.as_deref())),
    ];
    for (name, value) in &event.headers {
        facts.push(("header", format!("{name}: {value}")));
    }
    let bytes = event.payload.len();
    facts.push(("content type", event.content_type.clone()));
    facts.push(("payload", counted(bytes as u64, "byte")));
    facts
}
