//! The suite for a [`Transport`].
//!
//! ```text
//! // tests/conformance.rs of a transport
//! outbox_conformance::transport_suite!(my_broker, MyFixture::new(), delivery, outage, limits);
//! ```

mod broker;
pub mod delivery;
pub mod limits;
pub mod outage;

pub use broker::MemoryBroker;

use async_trait::async_trait;
use outbox_core::{Event, Transport};
use std::sync::Arc;

/// One broker with one empty destination, for one case.
#[async_trait]
pub trait TransportFixture: Send + Sync + Sized + 'static {
    /// An independent transport to the destination, as another process would make it.
    async fn transport(&self) -> Arc<dyn Transport>;

    /// What has arrived so far, in order, read back by other means than the transport.
    async fn received(&self) -> Vec<Event>;
}

/// A fixture whose broker can be stopped; needed by the group [`outage`].
#[async_trait]
pub trait StoppableBroker: TransportFixture {
    /// Makes the broker unreachable.
    async fn stop(&self);

    /// Brings it back, with what it had taken before.
    async fn start(&self);
}

/// A fixture whose broker refuses large events; needed by the group [`limits`].
#[async_trait]
pub trait LimitedBroker: TransportFixture {
    /// An event that the broker can never take.
    async fn too_large(&self) -> Event;
}

/// Every case, by group. The one list from which tests are generated.
#[doc(hidden)]
#[macro_export]
macro_rules! transport_cases {
    ($with:path, $($arguments:tt)*) => {
        $with! { $($arguments)*
            delivery {
                an_empty_call_is_answered_empty
                every_event_is_answered_in_order
                what_is_answered_ok_is_at_the_broker
                an_event_arrives_unchanged
                calls_one_after_another_keep_their_order
                concurrent_calls_all_arrive
            }
            outage {
                an_outage_is_unavailable_and_ends
            }
            limits {
                a_too_large_event_is_permanent_and_its_neighbours_arrive
            }
        }
    };
}

/// Generates one `#[test]` per case of the named groups: `name::group::case`.
///
/// The first argument names the module, the second makes a fixture; then come the groups that the
/// fixture supports.
#[macro_export]
macro_rules! transport_suite {
    ($name:ident, $fixture:expr, $($group:ident),+ $(,)?) => {
        mod $name {
            #[allow(unused_imports, reason = "the fixture may stand beside the suite")]
            use super::*;
            $($crate::transport_cases! { $crate::transport_group, $group, $fixture; })+
        }
    };
}

/// Picks one group out of the list of cases.
#[doc(hidden)]
#[macro_export]
macro_rules! transport_group {
    (delivery, $fixture:expr; delivery { $($case:ident)* } $($rest:tt)*) => {
        $crate::transport_tests! { delivery, $fixture, $($case)* }
    };
    (outage, $fixture:expr; outage { $($case:ident)* } $($rest:tt)*) => {
        $crate::transport_tests! { outage, $fixture, $($case)* }
    };
    (limits, $fixture:expr; limits { $($case:ident)* } $($rest:tt)*) => {
        $crate::transport_tests! { limits, $fixture, $($case)* }
    };
    ($group:ident, $fixture:expr; $other:ident { $($case:ident)* } $($rest:tt)*) => {
        $crate::transport_group! { $group, $fixture; $($rest)* }
    };
}

/// The tests of one group.
#[doc(hidden)]
#[macro_export]
macro_rules! transport_tests {
    ($group:ident, $fixture:expr, $($case:ident)*) => {
        mod $group {
            #[allow(unused_imports, reason = "the fixture may stand beside the suite")]
            use super::*;
            $(
                #[test]
                fn $case() {
                    $crate::run(async { $crate::transport::$group::$case($fixture).await });
                }
            )*
        }
    };
}

macro_rules! names {
    ($($group:ident { $($case:ident)* })*) => {
        /// All cases as `(group, case)`.
        pub const CASES: &[(&str, &str)] = &[$($((stringify!($group), stringify!($case)),)*)*];
    };
}
transport_cases! { names, }

#[cfg(test)]
mod tests {
    use super::CASES;

    #[test]
    fn every_case_function_is_in_the_list() {
        for (group, source) in [
            ("delivery", include_str!("delivery.rs")),
            ("outage", include_str!("outage.rs")),
            ("limits", include_str!("limits.rs")),
        ] {
            let written: Vec<&str> = source
                .lines()
                .filter_map(|line| line.strip_prefix("pub async fn "))
                .filter_map(|rest| rest.split('<').next())
                .collect();
            let listed: Vec<&str> = CASES
                .iter()
                .filter(|(name, _)| *name == group)
                .map(|(_, case)| *case)
                .collect();
            assert_eq!(written, listed, "group {group}");
        }
    }
}
