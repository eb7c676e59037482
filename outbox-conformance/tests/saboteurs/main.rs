//! The suites are tested themselves: each clause is broken once, and the case that names it says
//! so.

/// Writes `run`, which runs a case by its name on saboteurs of the module that `new` makes.
macro_rules! runner {
    ($($group:ident { $($case:ident $([$many:ident])?)* })*) => {
        async fn run(case: &str, new: impl Fn() -> Saboteur) {
            match case {
                $($(stringify!($case) => {
                    $group::$case(outbox_conformance::__fixture!(($($many)?) new())).await;
                })*)*
                other => panic!("no case is called {other}"),
            }
        }
    };
}

mod append;
mod clauses;
mod harness;
mod heap;
mod inbox;
mod line;
mod messages;
mod registry;
mod store;
mod table;
mod transport;
