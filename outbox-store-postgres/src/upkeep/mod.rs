//! Work that keeps the tables in order, outside of the path of a healthy batch.

mod clean_up;
mod lost_claims;
mod park_page;
mod progress;
mod renew;
mod repair_keys;
mod restored;
mod set_aside;

pub(crate) use progress::Progress;
pub(crate) use restored::adopt_at_start;
pub(crate) use set_aside::Runs;
