//! The help texts of the metrics.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

const COUNTERS: &[(&str, &str)] = &[
    ("outbox_published_total", "Events that the broker accepted."),
    (
        "outbox_failed_total",
        "Events that were sent and not accepted.",
    ),
    (
        "outbox_quarantined_total",
        "Events that this relay made dead letters.",
    ),
    (
        "outbox_takeovers_total",
        "Events that were alone in a claim of a worker that was lost.",
    ),
    (
        "outbox_duplicates_total",
        "Events that the broker said it had already.",
    ),
];

const HISTOGRAMS: &[(&str, &str)] = &[
    (
        "outbox_publish_seconds",
        "The time of a call of the transport that published events.",
    ),
    (
        "outbox_delay_seconds",
        "The time from the creation of an event to the answer of the broker.",
    ),
];

const COUNTS: &[(&str, &str)] = &[
    (
        "outbox_pending",
        "Events that are neither published nor dead letters.",
    ),
    (
        "outbox_waiting_keys",
        "Ordering keys that wait for a retry, a delay or a dead letter.",
    ),
    ("outbox_in_flight", "Events in a claim of any relay."),
    (
        "outbox_claims_in_flight",
        "Claims that this relay publishes.",
    ),
    ("outbox_dead_letters", "Events in the quarantine."),
    (
        "outbox_heap_entries",
        "Events with failed attempts in the heap.",
    ),
    ("outbox_heap_up", "1 if the heap answered last, else 0."),
    ("outbox_store_up", "1 if the store answered last, else 0."),
    (
        "outbox_breaker_open",
        "1 while the destination gets no events.",
    ),
];

const TIMES: &[(&str, &str)] = &[
    (
        "outbox_oldest_pending_age_seconds",
        "The age of the oldest pending event.",
    ),
    (
        "outbox_oldest_due_age_seconds",
        "For how long the oldest due event has been due.",
    ),
    (
        "outbox_oldest_dead_letter_age_seconds",
        "For how long the oldest dead letter has been one.",
    ),
    (
        "outbox_last_pass_timestamp_seconds",
        "When a claim of this relay ended last.",
    ),
    (
        "outbox_last_sample_timestamp_seconds",
        "When the backlog was sampled last.",
    ),
];

pub(super) fn describe() {
    for (name, help) in COUNTERS {
        describe_counter!(*name, Unit::Count, *help);
    }
    for (name, help) in HISTOGRAMS {
        describe_histogram!(*name, Unit::Seconds, *help);
    }
    for (name, help) in COUNTS {
        describe_gauge!(*name, Unit::Count, *help);
    }
    for (name, help) in TIMES {
        describe_gauge!(*name, Unit::Seconds, *help);
    }
}
