//! What is wrong with the store, the heap and the destination of a relay.

use super::relays;
use crate::failure::Failure;
use crate::settings::ServiceSettings;
use crate::wiring::{
    self, Backend, Destination, Finding, HEAP, Pools, Severity, folder, full_disk, orphans,
};
use humantime::format_duration;
use outbox_core::{Backlog, ErrorText, HeapSize, Transport, TransportCheck};
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// How long each of them may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many relays and claims are looked at.
const LOOKED_AT: usize = 100;

pub(super) async fn examine(settings: &ServiceSettings) -> Vec<Finding> {
    let (tables, destination) = tokio::join!(tables(settings), destination(settings));
    tables.into_iter().chain(destination).collect()
}

/// The store and the heap. A check that needs tables is left out where they are missing.
async fn tables(settings: &ServiceSettings) -> Vec<Finding> {
    let urls = &settings.urls;
    let backends = match wiring::store_and_heap(urls) {
        Ok(backends) => backends,
        Err(failure) => return vec![unusable("store", &failure)],
    };
    let has_heap = urls.store == urls.heap;
    let mut found: Vec<Finding> = Vec::new();
    for backend in &backends {
        // What is in the same place cannot be opened either.
        let is_elsewhere = backend.role().name() == HEAP.name() && !has_heap;
        if is_elsewhere || found.iter().all(|one| one.check == "schema") {
            found.extend(schema(&**backend).await);
        }
    }
    if found.iter().any(|one| one.severity == Severity::Error) {
        return found;
    }
    for backend in &backends {
        found.extend(within(backend.examine(has_heap), "store").await);
    }
    found.extend(within(working(settings, has_heap), "store").await);
    found
}

/// Whether the tables are those of this version, or at least compatible with it.
async fn schema(backend: &dyn Backend) -> Option<Finding> {
    let (what, known) = (backend.role().name(), backend.known());
    let Ok(applied) = timeout(PATIENCE, backend.applied()).await else {
        return Some(silent(what));
    };
    match applied {
        Err(failure) => Some(unusable(what, &failure)),
        Ok(Some(applied)) if applied == known => None,
        Ok(Some(applied)) if applied > known => Some(Finding::warning(
            "schema",
            format!(
                "the tables of the {what} are of version {applied}, and this program knows {known}: it may use \
                 them, as they are compatible"
            ),
            "after an upgrade, replace this program by the new version; after a rollback, do nothing",
        )),
        Ok(applied) => {
            let applied = applied.unwrap_or(0);
            Some(Finding::error(
                "schema",
                format!("the tables of the {what} have {applied} of {known} migrations"),
                "run outbox migrate with this version of the command",
            ))
        }
    }
}

/// What the relays of the store do, and whether the heap is of this store.
async fn working(settings: &ServiceSettings, has_heap: bool) -> Result<Vec<Finding>, Failure> {
    let store = wiring::open_store(&settings.urls.store).await?;
    let backlog = store.storage.backlog().await?;
    let overview = store.registry.overview(LOOKED_AT).await?;
    let mut found = relays::examine(&backlog, &overview, settings.health_max_age);
    if !has_heap {
        let heap = wiring::open_heap(&settings.urls.heap).await?;
        let size = heap.size().await?.unwrap_or_default();
        found.extend(beyond(&size, &backlog).and_then(orphans));
    }
    Ok(found)
}

/// A heap elsewhere that has more entries than the outbox has events has entries of another outbox.
fn beyond(heap: &HeapSize, backlog: &Backlog) -> Option<u64> {
    let more = heap.entries.saturating_sub(backlog.pending);
    (!backlog.pending_is_capped && more > 0).then_some(more)
}

async fn destination(settings: &ServiceSettings) -> Vec<Finding> {
    if let Ok(Destination::File(path)) = wiring::destination(&settings.to) {
        return file(Path::new(path)).into_iter().collect();
    }
    let config = &settings.config;
    let pools = Pools::default();
    let store = Some((&*settings.urls.store, &pools));
    let outlet = match wiring::outlet(&settings.to, config.publish_timeout(), store) {
        Ok(outlet) => outlet,
        Err(failure) => return vec![unusable("destination", &failure)],
    };
    match timeout(PATIENCE, outlet.check()).await {
        Ok(check) => of_check(outlet.shown(), &check, config.retry_max()),
        Err(_) => vec![silent("destination")],
    }
}

/// A file is not opened: that would create it, and a relay that runs has locked it.
fn file(path: &Path) -> Option<Finding> {
    let folder = folder(path);
    let problem = if path.is_dir() {
        format!("{} is a directory", path.display())
    } else if !folder.is_dir() {
        format!("the folder {} does not exist", folder.display())
    } else {
        return full_disk(path);
    };
    Some(Finding::error(
        "destination",
        format!(
            "events cannot be written to file:{}: {problem}",
            path.display()
        ),
        "create the folder, or correct the path",
    ))
}

fn of_check(destination: &str, check: &TransportCheck, retry_max: Duration) -> Vec<Finding> {
    let problems = check.problems.iter().map(|problem| {
        Finding::error(
            "destination",
            format!("events cannot be published to {destination}: {}", ErrorText::from_error(problem)),
            "repair the broker, or correct the URL; events wait meanwhile, and none becomes a dead letter",
        )
    });
    let warnings = check.warnings.iter().map(|warning| {
        Finding::warning(
            "destination",
            format!("{destination}: {warning}"),
            "change the settings of the broker, unless this is intended",
        )
    });
    let window = check.duplicate_window.filter(|window| *window < retry_max);
    let window = window.map(|window| {
        let [window, delay] = [window, retry_max].map(format_duration);
        Finding::warning(
            "duplicates",
            format!("{destination} recognises duplicates for {window} only, but an event may be published again after {delay} (retry-max)"),
            "make the window of the broker longer than retry-max, or let consumers use an inbox",
        )
    });
    problems.chain(warnings).chain(window).collect()
}

async fn within(
    check: impl Future<Output = Result<Vec<Finding>, Failure>>,
    what: &'static str,
) -> Vec<Finding> {
    match timeout(PATIENCE, check).await {
        Ok(Ok(found)) => found,
        Ok(Err(failure)) => vec![unusable(what, &failure)],
        Err(_) => vec![silent(what)],
    }
}

/// `what`: the name of a role, which is that of the check too.
fn unusable(what: &'static str, failure: &Failure) -> Finding {
    Finding::error(
        what,
        failure.to_string(),
        format!(
            "correct the URL of the {what}, or repair what it names; outbox config show prints the URLs"
        ),
    )
}

fn silent(what: &'static str) -> Finding {
    let limit = format_duration(PATIENCE);
    Finding::error(
        what,
        format!("the {what} has not answered within {limit}"),
        "look whether its server works, and what is between it and this machine",
    )
}
