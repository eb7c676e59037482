//! `outbox status`.

use crate::cli::StoreJson;
use crate::exit::Outcome;
use crate::wiring;
use std::time::SystemTime;

pub(crate) async fn run(options: &StoreJson) -> Outcome {
    let backend = wiring::open(&options.store.url()?, None).await?;
    let backlog = backend.storage.backlog().await?;
    let heap = backend.heap.size().await?.map(|size| size.entries);
    let age = backlog
        .oldest_pending
        .map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
    if options.json {
        let status = serde_json::json!({
            "pending": backlog.pending, "in_flight": backlog.in_flight,
            "waiting": backlog.waiting, "dead_letters": backlog.dead_letters,
            "oldest_pending_seconds": age.map(|age| age.as_secs_f64()), "heap_entries": heap,
        });
        println!("{status}");
        return Ok(());
    }
    let age = age.map_or("none".to_owned(), |age| {
        humantime::format_duration(std::time::Duration::from_secs(age.as_secs())).to_string()
    });
    println!("pending        {}", backlog.pending);
    println!("  oldest       {age}");
    println!("  in flight    {}", backlog.in_flight);
    println!("  keys waiting {}", backlog.waiting);
    println!("failing        {}", heap.unwrap_or_default());
    println!("dead letters   {}", backlog.dead_letters);
    Ok(())
}
