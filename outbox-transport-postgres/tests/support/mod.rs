//! What the tests share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use outbox_core::{Event, PublishError, PublishErrorKind, Transport};

pub(crate) const PAGE: &str = include_str!("../../docs/consuming.md");
pub(crate) const README: &str = include_str!("../../README.md");

/// The block of SQL with this name in a page.
pub(crate) fn block(page: &'static str, name: &str) -> &'static str {
    let start = format!("```sql {name}\n");
    let (_, rest) = page
        .split_once(&start)
        .unwrap_or_else(|| panic!("no {start}"));
    rest.split_once("```")
        .expect("the end of the block")
        .0
        .trim_end()
        .trim_end_matches(';')
}

/// Publishes events that must be accepted.
pub(crate) async fn publish(transport: &dyn Transport, events: &[Event]) {
    for answer in transport.publish(events).await {
        answer.expect("published");
    }
}

/// The error and its causes.
pub(crate) fn text(error: &PublishError) -> String {
    outbox_core::ErrorText::from_error(error).to_string()
}

pub(crate) fn kinds(answers: &[Result<(), PublishError>]) -> Vec<Option<PublishErrorKind>> {
    answers
        .iter()
        .map(|answer| answer.as_ref().err().map(PublishError::kind))
        .collect()
}
