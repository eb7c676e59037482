//! `outbox doctor`.

mod relays;
mod service;
mod settings;

use crate::cli::ConfigOptions;
use crate::failure::Failure;
use crate::settings::ServiceSettings;
use crate::terminal::{counted, line, print};
use crate::wiring::{Finding, Severity};
use futures_util::future::join_all;
use serde_json::{Value, json};

/// What was found of one store.
struct Examined {
    store: String,
    findings: Vec<Finding>,
}

pub(crate) async fn run(options: &ConfigOptions) -> Result<(), Failure> {
    let services = options.urls.plan(&options.settings)?.services;
    let examined = join_all(services.iter().map(examine)).await;
    if options.json {
        print(value(&examined))?;
    } else {
        print_lines(&examined)?;
    }
    let findings = examined.iter().flat_map(|one| &one.findings);
    let errors = findings
        .filter(|one| one.severity == Severity::Error)
        .count() as u64;
    if errors == 0 {
        return Ok(());
    }
    Err(Failure::Found(counted(errors, "error")))
}

async fn examine(settings: &ServiceSettings) -> Examined {
    let mut findings = settings::examine(settings);
    findings.extend(service::examine(settings).await);
    findings.sort_by_key(|finding| finding.severity);
    Examined {
        store: settings.name.to_string(),
        findings,
    }
}

fn print_lines(examined: &[Examined]) -> Result<(), Failure> {
    for Examined { store, findings } in examined {
        for finding in findings {
            let (severity, check) = (finding.severity.name(), finding.check);
            let problem = line(&finding.problem);
            print(format_args!("{severity:<7}  {store}: {check}: {problem}"))?;
            print(format_args!("         do: {}", line(&finding.action)))?;
        }
        if findings.is_empty() {
            print(format_args!("ok       {store}: nothing found"))?;
        }
    }
    Ok(())
}

fn value(examined: &[Examined]) -> Value {
    let findings: Vec<Value> = examined.iter().flat_map(of_store).collect();
    let stores: Vec<&String> = examined.iter().map(|one| &one.store).collect();
    json!({ "stores": stores, "findings": findings })
}

fn of_store(Examined { store, findings }: &Examined) -> Vec<Value> {
    let finding = |finding: &Finding| {
        json!({
            "store": store,
            "severity": finding.severity.name(),
            "check": finding.check,
            "problem": finding.problem,
            "action": finding.action,
        })
    };
    findings.iter().map(finding).collect()
}
