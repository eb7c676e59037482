//! The statements, each in a separate file, with their tables in the schema.

use outbox_driver_postgres::Driver;
use sqlx::SqlStr;

macro_rules! statements {
    ($($name:ident)*) => {
        /// The texts by the names of their files. sqlx prepares each once per connection.
        #[derive(Debug)]
        pub(crate) struct Statements {
            $(pub(crate) $name: SqlStr,)*
        }

        impl Statements {
            pub(crate) fn new(driver: &Driver) -> Self {
                Self {
                    $($name: driver.sql(include_str!(concat!("sql/", stringify!($name), ".sql"))),)*
                }
            }
        }
    };
}

statements! {
    add_lanes
    backlog
    claim_events
    claim_next
    claim_retries
    claim_suspect
    clean_up_events
    clean_up_marks
    clean_up_tokens
    cut_leases
    find_entries
    find_lanes
    find_dead_letter
    dead_letter_groups
    list_dead_letters
    is_foreign
    lock_lanes
    lock_log
    lost_claim
    next_transaction
    outlook
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
    remove_events
    remove_retries
    renew_events
    renew_lanes
    replay
    repair_keys
    set_alarm
    set_aside
    set_aside_next
    settle_lane
    settle_lanes
    suspect
    take_back
    trim_lane
}
