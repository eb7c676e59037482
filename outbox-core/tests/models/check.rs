//! Runs a model. Shared with `outbox-store-postgres`.

use stateright::{Checker, HasDiscoveries, Model};
use std::hash::Hash;

/// A larger value for a longer run, from `OUTBOX_MODEL_SOAK`.
pub(crate) fn soak<T>(quick: T, soak: T) -> T {
    if std::env::var_os("OUTBOX_MODEL_SOAK").is_some() {
        soak
    } else {
        quick
    }
}

/// Asserts that every reachable state of the model has its properties.
pub(crate) fn holds<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static,
    M::Action: Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static,
{
    let failed = HasDiscoveries::AnyFailures;
    let checker = model.checker().finish_when(failed).threads(2);
    let checker = checker.spawn_bfs().join();
    println!("{name}: {} states", checker.unique_state_count());
    if let Some((property, path)) = checker.discoveries().into_iter().next() {
        panic!("\"{property}\" is violated by {:#?}", path.into_vec());
    }
}

/// Asserts that some run of the broken model violates `property`.
pub(crate) fn breaks<M>(model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static,
    M::Action: Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static,
{
    let found = HasDiscoveries::AnyOf([property].into());
    let checker = model.checker().finish_when(found).spawn_bfs().join();
    let Some(path) = checker.discovery(property) else {
        panic!("no run violates \"{property}\"");
    };
    println!("\"{property}\" is violated by {:?}", path.into_actions());
}
