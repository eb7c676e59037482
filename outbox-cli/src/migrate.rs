//! `outbox migrate`.

use crate::cli::{MigrateAction, MigrateOptions};
use crate::failure::Failure;
use crate::terminal::print;
use crate::wiring::{self, Backend, INBOX};
use serde_json::json;

pub(crate) async fn run(options: &MigrateOptions) -> Result<(), Failure> {
    if options.no_transaction && options.action != MigrateAction::Print {
        return Err(Failure::Input(
            "--no-transaction is given, but only `migrate print` takes it".to_owned(),
        ));
    }
    let backends = match (&options.inbox, &options.to) {
        (Some(url), _) => vec![wiring::backend(INBOX, url)?],
        (None, Some(url)) => vec![wiring::table(url)?],
        (None, None) => return stores(options).await,
    };
    one(options, None, &backends).await
}

/// All stores with their heaps. One that fails stops none of the others.
async fn stores(options: &MigrateOptions) -> Result<(), Failure> {
    let places = options.urls.places()?;
    let is_one = places.len() == 1;
    let mut failures = Vec::new();
    for place in places {
        let name = place.name().filter(|_| !is_one).map(ToOwned::to_owned);
        let done = match wiring::store_and_heap(&place.urls) {
            Ok(backends) => one(options, name.as_deref(), &backends).await,
            Err(failure) => Err(failure),
        };
        match done {
            Ok(()) => {}
            Err(Failure::Stdout(error)) => return Err(Failure::Stdout(error)),
            Err(failure) => failures.push((name, failure)),
        }
    }
    Failure::of_stores(failures)
}

/// The name is that of one of several stores.
async fn one(
    options: &MigrateOptions,
    name: Option<&str>,
    backends: &[Box<dyn Backend>],
) -> Result<(), Failure> {
    match options.action {
        MigrateAction::Print => return print_scripts(options, name, backends),
        MigrateAction::Up => wiring::migrate(backends).await?,
        MigrateAction::Check => {
            for backend in backends {
                backend.check().await?;
            }
        }
        MigrateAction::Status => {}
    }
    let mut components = Vec::new();
    for backend in backends {
        components.push(component(&**backend).await?);
    }
    if options.json {
        let mut value = value(&components);
        if let Some(name) = name {
            value["store"] = name.into();
        }
        return print(value);
    }
    let name = name.map(|name| format!("{name:<15} ")).unwrap_or_default();
    for component in &components {
        let newer = component.newer();
        let newer = newer.map(|version| format!("  newer: version {version}, which is compatible"));
        print(format_args!(
            "{name}{:<6} {:<21} applied: {:<8} missing: {}{}",
            component.role,
            component.package,
            numbers(&component.applied()),
            numbers(&component.missing()),
            newer.unwrap_or_default()
        ))?;
    }
    Ok(())
}

fn print_scripts(
    options: &MigrateOptions,
    name: Option<&str>,
    backends: &[Box<dyn Backend>],
) -> Result<(), Failure> {
    if let Some(name) = name {
        print(format_args!("-- The store {name}."))?;
    }
    backends.iter().try_for_each(|backend| {
        let script = backend.script();
        print(if options.no_transaction {
            without_transaction(&script)
        } else {
            &script
        })
    })
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
    /// More than are known if a newer version migrated them.
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
        (1..=self.applied.min(self.known)).collect()
    }

    /// The version of tables that a newer version migrated. They are compatible, else they are refused.
    fn newer(&self) -> Option<usize> {
        Some(self.applied).filter(|applied| *applied > self.known)
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
            "newer": component.newer(),
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
