//! The account of every event.

use super::broker::{Broker, Record};
use super::shop::Produced;
use crate::failure::Failure;
use crate::terminal::print;
use crate::wiring::Store;
use outbox_core::{DeadLetter, DeadLetterFilter, EventId};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// What is reported.
pub(super) struct Account<'a> {
    /// The URL of the store as it may be shown.
    pub(super) store: &'a str,
    pub(super) hides_password: bool,
    /// Whether the events were read back from a real broker.
    pub(super) is_read_back: bool,
    pub(super) produced: &'a Produced,
    pub(super) took: Duration,
}

/// Prints what became of all events.
///
/// # Errors
///
/// If a committed event is unaccounted for, one of a rolled-back transaction appeared, or an
/// order was broken.
pub(super) async fn report(
    account: &Account<'_>,
    backend: &Store,
    broker: &Broker,
) -> Result<(), Failure> {
    let dead_letters = backend
        .dead_letters
        .list(&DeadLetterFilter::all(), None, 10_000)
        .await?;
    let (record, produced) = (broker.record(), account.produced);
    print("")?;
    print(format_args!(
        "{} orders with {} events in {:.1} s",
        produced.orders,
        produced.committed.len(),
        account.took.as_secs_f64()
    ))?;
    let arrived = if account.is_read_back {
        "read back"
    } else {
        "published"
    };
    print(format_args!("  {arrived}     {:>5}", record.delays.len()))?;
    print_counts(&record, &dead_letters, produced)?;
    print_delays(&record)?;
    let faults = faults(&record, &dead_letters, produced);
    if !faults.is_empty() {
        return Err(Failure::Failed(faults.join("\n")));
    }
    print(format_args!(
        "  order kept for {} customers; every committed event is accounted for",
        record.keys()
    ))?;
    next_steps(account, &dead_letters)
}

fn print_counts(
    record: &Record,
    dead_letters: &[DeadLetter],
    produced: &Produced,
) -> Result<(), Failure> {
    print(format_args!("  quarantined   {:>5}", dead_letters.len()))?;
    for (reason, count) in reasons(dead_letters) {
        print(format_args!("     {count:>3} × {reason}"))?;
    }
    print(format_args!(
        "  rejected      {:>5}   publishes; each event was retried, or became a dead letter",
        record.refused
    ))?;
    print(format_args!(
        "  outage        {:>5}   publishes while the broker was away; none counts as a failed attempt",
        record.unavailable
    ))?;
    print(format_args!("  duplicates    {:>5}", record.duplicates))?;
    print(format_args!(
        "  rolled back   {:>5}   events, of which none may appear",
        produced.rolled_back.len()
    ))
}

fn print_delays(record: &Record) -> Result<(), Failure> {
    let mut delays: Vec<Duration> = record.delays.values().copied().collect();
    delays.sort_unstable();
    let ms = |share: f64| percentile(&delays, share).as_secs_f64() * 1e3;
    print(format_args!(
        "  delay from append to publish: p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        ms(0.50),
        ms(0.95),
        ms(0.99),
        ms(1.0)
    ))
}

/// What must not be: events that are lost, invented or in two places, and keys out of order.
fn faults(record: &Record, dead_letters: &[DeadLetter], produced: &Produced) -> Vec<String> {
    let delivered: HashSet<EventId> = record.delays.keys().copied().collect();
    let dead: HashSet<EventId> = dead_letters.iter().map(|one| one.id).collect();
    let committed: HashSet<EventId> = produced.committed.iter().copied().collect();
    let mut faults = record.disorder.clone();
    if produced.rows != committed.len() {
        faults.push(format!(
            "{} rows of the shop, but {} events",
            produced.rows,
            committed.len()
        ));
    }
    let accounted: HashSet<EventId> = delivered.union(&dead).copied().collect();
    for id in committed.symmetric_difference(&accounted) {
        faults.push(format!("event {id} is unaccounted for"));
    }
    for id in delivered.intersection(&dead) {
        faults.push(format!("event {id} is published and quarantined"));
    }
    faults
}

fn reasons(dead_letters: &[DeadLetter]) -> BTreeMap<&str, usize> {
    let mut reasons = BTreeMap::new();
    for dead_letter in dead_letters {
        *reasons
            .entry(dead_letter.last_error.as_deref().unwrap_or("unknown"))
            .or_default() += 1;
    }
    reasons
}

/// The nearest rank, of sorted values.
fn percentile(sorted: &[Duration], share: f64) -> Duration {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a rank within the few thousand values"
    )]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

fn next_steps(account: &Account<'_>, dead_letters: &[DeadLetter]) -> Result<(), Failure> {
    let Some(dead_letter) = dead_letters.first() else {
        return Ok(());
    };
    let id = dead_letter.id;
    let store = quoted(account.store);
    print("")?;
    print("What next:")?;
    if account.hides_password {
        print(format_args!(
            "  export PGPASSWORD=…   # the password, which is not shown"
        ))?;
    }
    for command in [
        format!("dlq list --store {store}"),
        format!("dlq show {id} --store {store}"),
        format!("dlq replay {id} --store {store}"),
        format!("relay --store {store} --to stdout:// --drain"),
        format!("status --store {store}"),
    ] {
        print(format_args!("  cargo run -q -p outbox-cli -- {command}"))?;
    }
    Ok(())
}

/// As a shell takes it: zsh would look for files that match a `?`.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@=,%".contains(&byte);
    if word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_word_is_quoted_only_where_a_shell_would_change_it() {
        assert_eq!(quoted("sqlite:a/shop.db"), "sqlite:a/shop.db");
        assert_eq!(quoted("sqlite:it's here"), r"'sqlite:it'\''s here'");
        assert_eq!(
            quoted("postgres://h/d?schema=x"),
            "'postgres://h/d?schema=x'"
        );
    }
}
