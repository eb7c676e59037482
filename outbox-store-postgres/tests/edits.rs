//! S13: tables that are emptied, and rows that are deleted, while a claim is open or events wait.

mod support;

use outbox_core::{
    Claim, ClaimLimit, ErrorKind, Event, EventId, OutboxStorage, Outcome, Settlement,
};
use outbox_store_postgres::PostgresStore;
use std::collections::BTreeSet;
use std::time::Duration;
use support::{Own, each};

const LEASE: Duration = Duration::from_secs(30);

const TABLES: [&str; 6] = [
    "outbox_events",
    "outbox_retries",
    "outbox_dead_letters",
    "outbox_lanes",
    "outbox_tokens",
    "outbox_marks",
];

async fn claim(store: &PostgresStore) -> Claim {
    let claim = store.claim(ClaimLimit::events(40), LEASE).await;
    claim.expect("claimed")
}

async fn publish_all(store: &PostgresStore) -> BTreeSet<EventId> {
    let mut published = BTreeSet::new();
    loop {
        let claim = claim(store).await;
        if claim.events.is_empty() {
            return published;
        }
        published.extend(claim.events.iter().map(|one| one.event.id));
        let settlements = each(&claim, &Outcome::Published);
        let settled = store.settle(claim.token, &settlements).await;
        settled.expect("settled");
    }
}

fn keyed(count: usize) -> Vec<Event> {
    let event = |n: usize| Event::new("edits", "").ordering_key(format!("key {}", n % 3));
    (0..count).map(event).collect()
}

fn outcomes(claim: &Claim) -> Vec<Settlement> {
    let outcome = |n: usize| match n % 4 {
        0 => Outcome::Published,
        1 => Outcome::Retry {
            delay: Duration::ZERO,
            error: "refused".into(),
        },
        2 => Outcome::Dead {
            reason: "broken".into(),
        },
        _ => Outcome::Released {
            delay: Duration::ZERO,
        },
    };
    let ids = claim.events.iter().map(|one| one.event.id).enumerate();
    ids.map(|(n, id)| Settlement::new(id, outcome(n))).collect()
}

/// Each table alone, then all tables. A TRUNCATE restarts the sequences.
#[tokio::test]
async fn a_table_that_is_emptied_during_a_claim_stops_no_event() {
    let own = Own::in_schema("outbox");
    let store = own.open().await;
    let all = TABLES.map(|table| format!("outbox.{table}")).join(", ");
    let deletes = TABLES.map(|table| format!("DELETE FROM outbox.{table};"));
    let mut edits = deletes.to_vec();
    edits.push(deletes.concat());
    edits.extend(TABLES.map(|table| format!("TRUNCATE outbox.{table} RESTART IDENTITY")));
    edits.push(format!("TRUNCATE {all} RESTART IDENTITY"));
    for edit in edits {
        own.append(&keyed(9)).await;
        let first = claim(&store).await;
        let settled = store.settle(first.token, &outcomes(&first)).await;
        settled.expect("settled");
        own.append(&keyed(9)).await;
        let in_flight = claim(&store).await;
        own.execute(&edit).await;
        match store.settle(in_flight.token, &outcomes(&in_flight)).await {
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}"),
        }
        let later = keyed(9);
        own.append(&later).await;
        let mut published = publish_all(&store).await;
        while !later.iter().all(|event| published.contains(&event.id)) {
            published.extend(publish_all(&store).await);
        }
    }
}

/// After a TRUNCATE, other events get the places that the events of the claim had.
#[tokio::test]
async fn a_settlement_does_not_change_events_at_reused_places() {
    let own = Own::in_schema("outbox");
    let store = own.open().await;
    let delay = Duration::ZERO;
    own.append(&keyed(3)).await;
    let first = claim(&store).await;
    let released = each(&first, &Outcome::Released { delay });
    store.settle(first.token, &released).await.expect("settled");
    let in_flight = claim(&store).await;
    own.execute("TRUNCATE outbox.outbox_retries RESTART IDENTITY")
        .await;
    let others: Vec<Event> = (0..40)
        .map(|n| Event::new("edits", "").ordering_key(format!("other {n}")))
        .collect();
    own.append(&others).await;
    let other = claim(&store).await;
    assert!(other.events.len() >= 3);
    let released = each(&other, &Outcome::Released { delay });
    store.settle(other.token, &released).await.expect("settled");
    let published = each(&in_flight, &Outcome::Published);
    let settled = store.settle(in_flight.token, &published).await;
    settled.expect("settled");
    let expected = others.iter().map(|event| event.id).collect();
    assert_eq!(publish_all(&store).await, expected);
}

/// The event or the dead letter that a key waits for was deleted, so no settlement ends the wait.
#[tokio::test]
async fn a_key_continues_after_the_row_that_it_waits_for_was_deleted_by_hand() {
    let own = Own::in_schema("outbox");
    let store = own.open().await.block_key_on_dead_letter();
    let delay = LEASE * 100;
    let retry = Outcome::Retry {
        delay,
        error: "refused".into(),
    };
    let dead = Outcome::Dead {
        reason: "broken".into(),
    };
    for (outcome, edit) in [
        (
            retry,
            "DELETE FROM outbox.outbox_retries WHERE due_at IS NOT NULL",
        ),
        (dead, "DELETE FROM outbox.outbox_dead_letters"),
    ] {
        let events: Vec<Event> = keyed(3);
        let of_a_key: Vec<Event> = events
            .iter()
            .map(|event| event.clone().ordering_key("key"))
            .collect();
        own.append(&of_a_key).await;
        let first = claim(&store).await;
        let mut settlements = each(
            &first,
            &Outcome::Released {
                delay: Duration::ZERO,
            },
        );
        settlements[0].outcome = outcome;
        store
            .settle(first.token, &settlements)
            .await
            .expect("settled");
        assert_eq!(publish_all(&store).await, BTreeSet::new());
        own.execute(edit).await;
        let mut published = BTreeSet::new();
        while published.len() < 2 {
            published.extend(publish_all(&store).await);
        }
        let expected = of_a_key[1..].iter().map(|event| event.id).collect();
        assert_eq!(published, expected);
    }
}
