//! `outbox dlq`: list, show, replay, purge.

use crate::cli::{ChangeOptions, DlqCommand, ListOptions, ShowOptions};
use crate::failure::Failure;
use crate::ndjson::write_line;
use crate::wiring::{self, Backend};
use humantime::format_rfc3339_seconds;
use outbox_core::{DeadLetter, DeadLetterFilter, EventId};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};

/// Letters per call to the store.
const PAGE: usize = 500;

pub(crate) async fn run(command: DlqCommand) -> Result<(), Failure> {
    match command {
        DlqCommand::List(options) => list(&options).await,
        DlqCommand::Show(options) => show(&options).await,
        DlqCommand::Replay(options) => change(&options, Change::Replay).await,
        DlqCommand::Purge(options) => change(&options, Change::Purge).await,
    }
}

async fn list(options: &ListOptions) -> Result<(), Failure> {
    let backend = wiring::open(&options.store.store).await?;
    let filter = options.filter.filter();
    let letters = backend
        .letters
        .list(&filter, options.after, options.limit)
        .await?;
    for letter in &letters {
        if options.json {
            println!("{}", value(letter));
            continue;
        }
        println!(
            "{:>5}  {}  {}  {:<14} {:>2} failed  {}",
            letter.position,
            format_rfc3339_seconds(letter.quarantined_at),
            letter.event.id,
            letter.event.event_type,
            letter.failure_count,
            letter.last_error.as_deref().unwrap_or("-"),
        );
    }
    if !options.json {
        let last = letters.last().map(|letter| letter.position);
        match last.filter(|_| letters.len() == options.limit) {
            Some(last) => eprintln!("more: --after {last}"),
            None => eprintln!("{} dead letters", letters.len()),
        }
    }
    Ok(())
}

async fn show(options: &ShowOptions) -> Result<(), Failure> {
    let backend = wiring::open(&options.store.store).await?;
    let letter = backend
        .letters
        .find(options.id)
        .await?
        .ok_or_else(|| missing(options.id))?;
    if options.json {
        println!("{}", value(&letter));
        return Ok(());
    }
    let event = &letter.event;
    println!("id           {}", event.id);
    println!("type         {}", event.event_type);
    println!(
        "key          {}",
        event.ordering_key.as_deref().unwrap_or("-")
    );
    println!("created      {}", format_rfc3339_seconds(event.created_at));
    println!(
        "quarantined  {}",
        format_rfc3339_seconds(letter.quarantined_at)
    );
    println!("failed       {} times", letter.failure_count);
    println!("replayed     {} times", letter.replays);
    println!(
        "last error   {}",
        letter.last_error.as_deref().unwrap_or("-")
    );
    for (name, value) in &event.headers {
        println!("header       {name}: {value}");
    }
    println!(
        "content      {} ({} bytes)",
        event.content_type,
        event.payload.len()
    );
    println!("{}", String::from_utf8_lossy(&event.payload));
    Ok(())
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Change {
    Replay,
    Purge,
}

impl Change {
    fn done(self) -> &'static str {
        match self {
            Self::Replay => "replayed",
            Self::Purge => "purged",
        }
    }
}

async fn change(options: &ChangeOptions, change: Change) -> Result<(), Failure> {
    let mut filter = options.filter.filter();
    if !options.ids.is_empty() {
        filter.ids = Some(options.ids.clone());
    } else if options.filter.is_empty() && !options.all {
        let message = "say which letters: ids, or --type, --key, --error, --before, or --all";
        return Err(Failure::Input(message.to_owned()));
    }
    let backend = wiring::open(&options.store.store).await?;
    for id in &options.ids {
        if backend.letters.find(*id).await?.is_none() {
            return Err(missing(*id));
        }
    }
    let meant = all(&backend, &filter).await?;
    if let Some(id) = options.ids.iter().find(|id| !meant.contains(id)) {
        return Err(Failure::Input(format!(
            "dead letter {id} does not match the other conditions"
        )));
    }
    if options.dry_run {
        print(options, "would be ", change, &meant);
        return Ok(());
    }
    if change == Change::Purge && !options.yes {
        confirm(meant.len())?;
    }
    let mut done = Vec::new();
    for ids in meant.chunks(PAGE) {
        let filter = DeadLetterFilter::ids(ids.iter().copied());
        done.extend(match change {
            // The new budget of attempts begins with an empty count.
            Change::Replay => {
                backend.heap.forget(ids).await?;
                backend.letters.replay(&filter, PAGE).await?
            }
            Change::Purge => backend.letters.purge(&filter, PAGE).await?,
        });
    }
    print(options, "", change, &done);
    Ok(())
}

/// The ids of all letters that match now.
async fn all(backend: &Backend, filter: &DeadLetterFilter) -> Result<Vec<EventId>, Failure> {
    let mut ids = Vec::new();
    let mut after = None;
    loop {
        let page = backend.letters.list(filter, after, PAGE).await?;
        ids.extend(page.iter().map(|letter| letter.event.id));
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.position),
            _ => return Ok(ids),
        }
    }
}

fn confirm(count: usize) -> Result<(), Failure> {
    let refused = "nothing was purged: pass --yes to purge without being asked";
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Input(refused.to_owned()));
    }
    eprint!("purge {count} dead letters for good? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::Failed("nothing was purged".to_owned()))
}

fn print(options: &ChangeOptions, would: &str, change: Change, ids: &[EventId]) {
    if options.json {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        println!(
            "{}",
            json!({ change.done(): ids, "dry_run": options.dry_run })
        );
        return;
    }
    for id in ids {
        println!("{id}");
    }
    eprintln!("{would}{}: {}", change.done(), ids.len());
}

fn missing(id: EventId) -> Failure {
    Failure::Failed(format!("no dead letter has the id {id}"))
}

/// A letter as JSON: the event as the relay writes it, and what became of it.
fn value(letter: &DeadLetter) -> Value {
    let mut line = Vec::new();
    let event: Value = match write_line(&letter.event, &mut line) {
        Ok(()) => serde_json::from_slice(&line).unwrap_or(Value::Null),
        Err(_) => Value::Null,
    };
    json!({
        "position": letter.position,
        "event": event,
        "failure_count": letter.failure_count,
        "last_error": letter.last_error.as_deref(),
        "first_failed_at": format_rfc3339_seconds(letter.first_failed_at).to_string(),
        "last_failed_at": format_rfc3339_seconds(letter.last_failed_at).to_string(),
        "quarantined_at": format_rfc3339_seconds(letter.quarantined_at).to_string(),
        "replays": letter.replays,
    })
}
