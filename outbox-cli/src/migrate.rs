//! `outbox migrate`.

use crate::cli::{MigrateAction, MigrateOptions};
use crate::failure::Failure;
use crate::settings::Urls;
use crate::terminal::print;
use crate::wiring::{self, Component};
use serde_json::json;

pub(crate) async fn run(options: &MigrateOptions) -> Result<(), Failure> {
    let urls = options.urls.urls()?;
    match options.action {
        MigrateAction::Print => return wiring::scripts(&urls)?.iter().try_for_each(print),
        MigrateAction::Up => wiring::migrate(&urls).await?,
        MigrateAction::Check => check(&urls).await?,
        MigrateAction::Status => {}
    }
    let components = wiring::components(&urls).await?;
    if let Some(none) = components
        .iter()
        .find(|component| component.applied.is_none())
    {
        let message = format!("the {} does not exist; run `outbox migrate`", none.role);
        return Err(Failure::Input(message));
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

/// Opening is what the other commands would fail at.
async fn check(urls: &Urls) -> Result<(), Failure> {
    wiring::open_store(&urls.store, false).await?;
    wiring::open_heap(&urls.heap).await?;
    Ok(())
}

impl Component {
    /// Migrations are numbered from 1.
    fn applied(&self) -> Vec<usize> {
        (1..=self.applied.unwrap_or(0)).collect()
    }

    fn missing(&self) -> Vec<usize> {
        (self.applied.unwrap_or(0) + 1..=self.known).collect()
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
