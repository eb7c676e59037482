//! `outbox check`.

use crate::cli::CheckOptions;
use crate::failure::Failure;
use crate::ndjson::publish_error;
use crate::settings::RelaySettings;
use crate::terminal::{line, print};
use crate::wiring::{self, Outlet};
use outbox_core::{ErrorText, PublishError, PublishErrorKind, Transport, TransportCheck};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// How long the destination may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(options: &CheckOptions) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for (name, settings) in options.settings()? {
        if let Err(failure) = one(options, name.as_deref(), &settings).await {
            if matches!(failure, Failure::Stdout(_)) {
                return Err(failure);
            }
            failures.push((name, failure));
        }
    }
    Failure::of_stores(failures)
}

async fn one(
    options: &CheckOptions,
    name: Option<&str>,
    settings: &RelaySettings,
) -> Result<(), Failure> {
    let to = &*settings.destination()?;
    let (shown, found) = match wiring::outlet(to, settings.publish_timeout(), None) {
        Ok(outlet) => (outlet.shown().to_owned(), asked(&outlet).await),
        Err(Failure::File(error)) => {
            let found = TransportCheck::default().problem(publish_error(error));
            (to.to_owned(), found)
        }
        Err(failure) => return Err(failure),
    };
    if options.json {
        let mut value = value(&shown, &found);
        if let Some(name) = name {
            value["store"] = json!(name);
        }
        print(value)?;
    } else {
        if let Some(name) = name {
            print(format_args!("store        {name}"))?;
        }
        print_lines(&shown, &found)?;
    }
    if found.problems.is_empty() {
        return Ok(());
    }
    Err(Failure::Found(format!(
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
    for warning in &found.warnings {
        print(format_args!("warning      {}", line(warning)))?;
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
            "kind": problem.kind().name(),
            "destination": problem.destination(),
            "error": ErrorText::from_error(problem).as_str(),
        })
    };
    json!({
        "destination": shown,
        "ready": found.problems.is_empty(),
        "notes": found.notes,
        "warnings": found.warnings,
        "problems": found.problems.iter().map(problem).collect::<Vec<_>>(),
    })
}
