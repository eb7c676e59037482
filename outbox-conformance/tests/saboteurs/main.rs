//! The suites are tested themselves: each clause is broken once, and the case that names it says so.

/// Writes `run`, which runs a case by its name on the module's `Saboteur`.
macro_rules! runner {
    ($($group:ident { $($case:ident)* })*) => {
        async fn run(case: &str, fixture: Saboteur) {
            match case {
                $($(stringify!($case) => $group::$case(fixture).await,)*)*
                other => panic!("no case is called {other}"),
            }
        }
    };
}

mod clauses;
mod harness;
mod heap;
mod inbox;
mod line;
mod store;
mod table;
mod transport;
