//! `outbox destination`.

use crate::cli::{DestinationCommand, DestinationsOptions, DisableOptions, EnableOptions};
use crate::failure::Failure;
use crate::terminal::{line, print};
use crate::time;
use crate::wiring;
use serde_json::json;

pub(crate) async fn run(command: &DestinationCommand) -> Result<(), Failure> {
    match command {
        DestinationCommand::List(options) => list(options).await,
        DestinationCommand::Enable(options) => enable(options).await,
        DestinationCommand::Disable(options) => disable(options).await,
    }
}

async fn list(options: &DestinationsOptions) -> Result<(), Failure> {
    let table = wiring::open_switches(&options.store.url()?).await?;
    let off = table.list().await?;
    if options.json {
        for off in &off {
            print(json!({
                "destination": off.name,
                "off_since": time::micros(off.since),
                "reason": off.reason,
            }))?;
        }
        return Ok(());
    }
    for off in &off {
        let (name, reason) = (line(&off.name), line(&off.reason));
        let since = time::seconds(off.since);
        print(format_args!("{name}  off since {since}: {reason}"))?;
    }
    Ok(())
}

async fn enable(options: &EnableOptions) -> Result<(), Failure> {
    let table = wiring::open_switches(&options.store.url()?).await?;
    if table.switch_on(&options.destination).await? {
        return Ok(());
    }
    let name = &options.destination;
    Err(Failure::Failed(format!(
        "destination {name:?} is not off; `outbox destination list` shows those that are"
    )))
}

async fn disable(options: &DisableOptions) -> Result<(), Failure> {
    let table = wiring::open_switches(&options.store.url()?).await?;
    table
        .switch_off(&options.destination, &options.reason)
        .await?;
    Ok(())
}
