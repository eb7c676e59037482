//! The statements, each in a separate file, with their tables in the schema.

use crate::filter::with_conditions;
use outbox_driver_postgres::Driver;
use sqlx::SqlStr;

/// How many lanes the log has. The statements and the migration have the same number.
pub(crate) const LANES: usize = 16;

/// A count as the statements take it.
pub(crate) fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Bytes as the statements take them.
pub(crate) fn size(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The statements for a small table of retries and for one that is not small.
///
/// The server keeps the plan of a prepared statement until it has analysed the tables again. A plan that was made
/// while `outbox_retries` was empty reads the whole table for each event of a claim: with 50,000 rows a claim
/// took 2 seconds. So the first use of a statement with many retries makes another plan.
#[derive(Debug)]
pub(crate) struct Variants {
    few: Box<Statements>,
    many: Box<Statements>,
}

impl Variants {
    pub(crate) fn new(driver: &Driver) -> Self {
        Self {
            few: Box::new(Statements::new(driver, "")),
            many: Box::new(Statements::new(driver, "-- Many retries.\n")),
        }
    }

    pub(crate) fn of(&self, many_retries: bool) -> &Statements {
        if many_retries { &self.many } else { &self.few }
    }
}

macro_rules! statements {
    ($($name:ident)*) => {
        /// The texts by the names of their files. sqlx prepares each once per connection.
        #[derive(Debug)]
        pub(crate) struct Statements {
            $(pub(crate) $name: SqlStr,)*
        }

        impl Statements {
            /// With a comment before each text, so that each is another prepared statement.
            fn new(driver: &Driver, comment: &str) -> Self {
                let text = |text| driver.sql(&format!("{comment}{}", with_conditions(text)));
                Self {
                    $($name: text(include_str!(concat!("sql/", stringify!($name), ".sql"))),)*
                }
            }
        }
    };
}

statements! {
    add_lanes
    backlog
    blocked_keys
    claim_events
    claim_next
    claim_retries
    claim_suspect
    clean_up_events
    clean_up_marks
    clean_up_tokens
    cut_leases
    dead_letter_groups
    find_dead_letter
    find_entries
    find_lanes
    is_foreign
    lease_end
    list_dead_letters
    lock_lanes
    lock_log
    lost_claim
    next_transaction
    open_claims
    open_window
    outlook
    own_lanes
    park_again
    park_events
    park_page
    promote
    purge
    quarantine
    rebase_events
    rebase_lanes
    rebase_marks
    rebase_origin
    rebase_sequence
    relays
    remove_events
    remove_retries
    renew_events
    renew_lanes
    replay
    repair_keys
    report
    resume
    set_alarm
    set_aside
    set_aside_next
    settle_lane
    settle_lanes
    still_kept
    suspect
    take_back
    trim_lane
    waiting
    withdraw
}
