//! `outbox dlq`.

use crate::cli::{Change, Dlq, Select};
use crate::exit::{Outcome, bad_input, failed};
use crate::wiring::{self, Backend};
use outbox_core::{DeadLetter, DeadLetterFilter, EventId};
use std::io::{BufRead, IsTerminal, Write};

const PAGE: usize = 500;

pub(crate) async fn run(command: &Dlq) -> Outcome {
    match command {
        Dlq::List(select) => list(select).await,
        Dlq::Show { id, options } => {
            let backend = wiring::open(&options.store.url()?, None).await?;
            let id: EventId = id.parse()?;
            let found = backend.letters.find(id).await?;
            let letter = found.ok_or_else(|| failed(format!("no dead letter {id}")))?;
            show(&letter, options.json)
        }
        Dlq::Replay(change) => apply(change, "replayed").await,
        Dlq::Purge(change) => apply(change, "purged").await,
    }
}

async fn list(select: &Select) -> Outcome {
    let filter = filter(select)?;
    let backend = wiring::open(&select.options.store.url()?, None).await?;
    let letters = matching(&backend, &filter).await?;
    if select.options.json {
        println!("{}", serde_json::Value::from_iter(letters.iter().map(json)));
        return Ok(());
    }
    for letter in &letters {
        println!(
            "{}  {}  {}  {} failures  {}",
            letter.event.id,
            letter.event.event_type,
            letter.event.ordering_key.as_deref().unwrap_or("-"),
            letter.failure_count,
            reason(letter),
        );
    }
    eprintln!("{} dead letters", letters.len());
    Ok(())
}

async fn apply(change: &Change, verb: &str) -> Outcome {
    let select = &change.select;
    let filter = filter(select)?;
    let narrow = !select.ids.is_empty()
        || select.event_type.is_some()
        || select.key.is_some()
        || select.error.is_some()
        || select.before.is_some();
    if narrow == change.all {
        return Err(bad_input(
            "say which letters: ids, a filter, or --all alone",
        ));
    }
    let backend = wiring::open(&select.options.store.url()?, None).await?;
    let letters = matching(&backend, &filter).await?;
    if let Some(ids) = &filter.ids {
        let absent = |id: &&EventId| letters.iter().all(|letter| letter.event.id != **id);
        if let Some(id) = ids.iter().find(absent) {
            return Err(failed(format!("no dead letter {id}; nothing was {verb}")));
        }
    }
    let mut ids: Vec<EventId> = letters.iter().map(|letter| letter.event.id).collect();
    if !change.dry_run {
        if verb == "purged" && !change.yes && !confirm(ids.len())? {
            return Err(failed("nothing was purged"));
        }
        ids = change_pages(&backend, &ids, verb).await?;
    }
    if select.options.json {
        let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
        println!(
            "{}",
            serde_json::json!({ verb: names, "dry_run": change.dry_run })
        );
    } else {
        let would = if change.dry_run { "would be " } else { "" };
        ids.iter().for_each(|id| println!("{id}"));
        println!("{} {would}{verb}", ids.len());
    }
    Ok(())
}

/// Only the letters that were looked at are changed, not those that arrived since.
async fn change_pages(backend: &Backend, ids: &[EventId], verb: &str) -> Outcome<Vec<EventId>> {
    let mut changed = Vec::new();
    for page in ids.chunks(PAGE) {
        let filter = DeadLetterFilter::ids(page.iter().copied());
        // The new budget of attempts must be whole before the first of them can fail.
        backend.heap.forget(page).await?;
        changed.extend(if verb == "replayed" {
            backend.letters.replay(&filter, page.len()).await?
        } else {
            backend.letters.purge(&filter, page.len()).await?
        });
    }
    Ok(changed)
}

async fn matching(backend: &Backend, filter: &DeadLetterFilter) -> Outcome<Vec<DeadLetter>> {
    let mut letters: Vec<DeadLetter> = Vec::new();
    loop {
        let after = letters.last().map(|letter| letter.position);
        let page = backend.letters.list(filter, after, PAGE).await?;
        let last = page.len() < PAGE;
        letters.extend(page);
        if last {
            return Ok(letters);
        }
    }
}

fn filter(select: &Select) -> Outcome<DeadLetterFilter> {
    let mut filter = DeadLetterFilter::all();
    if !select.ids.is_empty() {
        let ids: Result<Vec<EventId>, _> = select.ids.iter().map(|id| id.parse()).collect();
        filter = DeadLetterFilter::ids(ids?);
    }
    filter.event_type.clone_from(&select.event_type);
    filter.ordering_key.clone_from(&select.key);
    filter.error_contains.clone_from(&select.error);
    if let Some(text) = &select.before {
        let time = humantime::parse_rfc3339_weak(text).map_err(|error| {
            bad_input(format!(
                "--before {text:?} is not allowed: a time such as 2026-01-31T12:00:00Z ({error})"
            ))
        })?;
        filter = filter.before(time);
    }
    Ok(filter)
}

fn confirm(count: usize) -> Outcome<bool> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(bad_input("purge deletes for good: add --yes"));
    }
    eprint!("delete {count} dead letters for good? [y/N] ");
    let mut answer = String::new();
    std::io::stderr().flush().map_err(failed)?;
    input.lock().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn show(letter: &DeadLetter, as_json: bool) -> Outcome {
    let mut value = json(letter);
    let mut line = Vec::new();
    crate::ndjson::write_line(&mut line, &letter.event).map_err(failed)?;
    value["event"] = serde_json::from_slice(&line).map_err(failed)?;
    if as_json {
        println!("{value}");
    } else {
        println!("{value:#}");
    }
    Ok(())
}

fn json(letter: &DeadLetter) -> serde_json::Value {
    serde_json::json!({
        "id": letter.event.id.to_string(),
        "type": letter.event.event_type,
        "key": letter.event.ordering_key,
        "failures": letter.failure_count,
        "error": letter.last_error.as_ref().map(ToString::to_string),
        "quarantined_at": humantime::format_rfc3339_micros(letter.quarantined_at).to_string(),
        "replays": letter.replays,
    })
}

fn reason(letter: &DeadLetter) -> String {
    let error = letter.last_error.as_ref();
    error.map_or_else(|| "no error text".to_owned(), ToString::to_string)
}
