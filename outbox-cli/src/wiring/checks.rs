//! What can be said of URLs without asking a server.

use super::outlet::of_lines;
use super::role::{DESTINATION, HEAP, Role, STORE};
use super::{Destination, Pools, backend, brokers};
use crate::failure::Failure;
use crate::settings::{ServiceSettings, Urls};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// All that is wrong with the URLs of a service.
pub(crate) fn check_urls(urls: &Urls, to: &str, publish_timeout: Duration) -> Vec<Failure> {
    let store = backend(STORE, &urls.store).err();
    let heap = backend(HEAP, &urls.heap)
        .err()
        .filter(|_| urls.heap != urls.store);
    let destination = if of_lines(to).is_some() {
        None
    } else {
        let origin = (&*urls.store, &Pools::default());
        // It connects to nothing.
        match brokers::open(
            to,
            publish_timeout,
            Some(origin).filter(|_| store.is_none()),
        ) {
            Some(opened) => opened.err(),
            None => Some(DESTINATION.unknown(to)),
        }
    };
    [store, heap, destination].into_iter().flatten().collect()
}

/// The URL without a password.
pub(crate) fn shown_place(role: Role, url: &str) -> Result<String, Failure> {
    Ok(backend(role, url)?.shown())
}

/// Reports services that would disturb each other: on one store, on one heap, or on one file.
pub(crate) fn check_apart(services: &[ServiceSettings], report: &mut dyn FnMut(String)) {
    let mut places: BTreeMap<String, &str> = BTreeMap::new();
    for service in services {
        let name = &*service.name;
        let identity = |role: Role, url: &str| {
            let backend = backend(role, url).ok()?;
            Some(format!("{} {}", role.name(), backend.identity()))
        };
        let (store, heap) = (&service.urls.store, &service.urls.heap);
        let store = identity(STORE, store).map(|place| (place, "have the same tables"));
        let same = "have the same heap, so that one would forget the counts of the other";
        let heap = identity(HEAP, heap).map(|place| (place, same));
        let file = regular_file(&service.to).map(|place| (place, "write to the same file"));
        for (place, why) in [store, heap, file].into_iter().flatten() {
            if let Some(other) = places.insert(place, name) {
                report(format!("the stores {other} and {name} {why}"));
                break;
            }
        }
    }
}

/// A file that belongs to one relay.
fn regular_file(to: &str) -> Option<String> {
    let Some(Destination::File(path)) = of_lines(to) else {
        return None;
    };
    let path = Path::new(path);
    match path.metadata() {
        Ok(found) if !found.is_file() => None,
        _ => {
            let path = path.canonicalize().or_else(|_| std::path::absolute(path));
            Some(format!("file {}", path.ok()?.display()))
        }
    }
}
