//! `outbox migrate`.

use crate::cli::{MigrateAction, MigrateOptions};
use crate::failure::Failure;
use crate::terminal::print;
use crate::wiring::{self, Backend, INBOX};
use serde_json::json;

pub(crate) async fn run(options: &MigrateOptions) -> Result<(), Failure> {
    let backends = match (&options.inbox, &options.to) {
        (Some(url), _) => vec![wiring::backend(INBOX, url)?],
        (None, Some(url)) => vec![wiring::table(url)?],
        (None, None) => wiring::store_and_heap(&options.urls.urls()?)?,
    };
    if options.no_transaction && options.action != MigrateAction::Print {
        return Err(Failure::Input(
            "--no-transaction is given, but only `migrate print` takes it".to_owned(),
        ));
    }
    match options.action {
        MigrateAction::Print => {
            return backends.iter().try_for_each(|backend| {
                let script = backend.script();
                print(if options.no_transaction {
                    without_transaction(&script)
                } else {
                    &script
                })
            });
        }
        MigrateAction::Up => wiring::migrate(&backends).await?,
        MigrateAction::Check => {
            for backend in &backends {
                backend.check().await?;
            }
        }
        MigrateAction::Status => {}
    }
    let mut components = Vec::new();
    for backend in &backends {
        components.push(component(&**backend).await?);
    }
    if options.json {
        return print(value(&components));
    }
    for component in &components {
        print(format_args!(
            "{:<6} {:<21} applied: {:<8} missing: {}",
            component.role,
            component.package,
            numbers(&component.applied()),
            numbers(&component.missing())
        ))?;
    }
    Ok(())
}

/// A script without the two statements around it that make it one transaction.
fn without_transaction(script: &str) -> &str {
    let begun = ["BEGIN;\n", "BEGIN IMMEDIATE;\n"];
    let begun = begun.iter().find_map(|begin| script.strip_prefix(begin));
    let inner = begun.and_then(|rest| rest.strip_suffix("COMMIT;\n"));
    inner.unwrap_or(script)
}

/// How far the tables of one crate are migrated.
struct Component {
    role: &'static str,
    package: &'static str,
    applied: usize,
    known: usize,
}

async fn component(backend: &dyn Backend) -> Result<Component, Failure> {
    let role = backend.role().name();
    let applied = backend.applied().await?.ok_or_else(|| {
        Failure::Input(format!("the {role} does not exist; run `outbox migrate`"))
    })?;
    Ok(Component {
        role,
        package: backend.package(),
        applied,
        known: backend.known(),
    })
}

impl Component {
    /// Migrations are numbered from 1.
    fn applied(&self) -> Vec<usize> {
        (1..=self.applied).collect()
    }

    fn missing(&self) -> Vec<usize> {
        (self.applied + 1..=self.known).collect()
    }
}

fn value(components: &[Component]) -> serde_json::Value {
    let one = |component: &Component| {
        json!({
            "role": component.role,
            "crate": component.package,
            "applied": component.applied(),
            "missing": component.missing(),
        })
    };
    json!({
        "up_to_date": components.iter().all(|component| component.missing().is_empty()),
        "components": components.iter().map(one).collect::<Vec<_>>(),
    })
}

fn numbers(numbers: &[usize]) -> String {
    if numbers.is_empty() {
        return "none".to_owned();
    }
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    numbers.join(", ")
}
