//! `outbox check`.

use crate::cli::CheckOptions;
use crate::failure::Failure;
use crate::ndjson::publish_error;
use crate::terminal::{line, print};
use crate::wiring::{self, Outlet};
use outbox_core::{ErrorText, PublishError, PublishErrorKind, Transport, TransportCheck};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// How long the destination may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(options: &CheckOptions) -> Result<(), Failure> {
    let settings = options.settings()?;
    let to = settings.to();
    let (shown, found) = match wiring::outlet(to, settings.publish_timeout()) {
        Ok(outlet) => (outlet.shown().to_owned(), asked(&outlet).await),
        Err(Failure::File(error)) => {
            let found = TransportCheck::default().problem(publish_error(error));
            (to.to_owned(), found)
        }
        Err(failure) => return Err(failure),
    };
    if options.json {
        print(value(&shown, &found))?;
    } else {
        print_lines(&shown, &found)?;
    }
    if found.problems.is_empty() {
        return Ok(());
    }
    Err(Failure::Unready(format!(
        "events cannot be published to {shown}"
    )))
}

async fn asked(outlet: &Outlet) -> TransportCheck {
    timeout(PATIENCE, outlet.check()).await.unwrap_or_else(|_| {
        let silent = format!("no answer within {PATIENCE:?}");
        let silent = PublishError::new(PublishErrorKind::Unavailable).with_source(silent);
        TransportCheck::default().problem(silent)
    })
}

fn print_lines(shown: &str, found: &TransportCheck) -> Result<(), Failure> {
    print(format_args!("destination  {}", line(shown)))?;
    for note in &found.notes {
        print(format_args!("note         {}", line(note)))?;
    }
    for problem in &found.problems {
        let text = ErrorText::from_error(problem);
        print(format_args!("problem      {}", line(&text)))?;
    }
    let ready = if found.problems.is_empty() {
        "yes"
    } else {
        "no"
    };
    print(format_args!("ready        {ready}"))
}

fn value(shown: &str, found: &TransportCheck) -> Value {
    let problem = |problem: &PublishError| {
        json!({
            "kind": kind(problem.kind()),
            "destination": problem.destination(),
            "error": ErrorText::from_error(problem).as_str(),
        })
    };
    json!({
        "destination": shown,
        "ready": found.problems.is_empty(),
        "notes": found.notes,
        "problems": found.problems.iter().map(problem).collect::<Vec<_>>(),
    })
}

fn kind(kind: PublishErrorKind) -> &'static str {
    match kind {
        PublishErrorKind::Rejected => "rejected",
        PublishErrorKind::Permanent => "permanent",
        PublishErrorKind::Misconfigured => "misconfigured",
        PublishErrorKind::Throttled(_) => "throttled",
        _ => "unavailable",
    }
}
