//! `outbox migrate`.

use crate::cli::{Migrate, MigrateAction};
use crate::exit::Outcome;
use crate::wiring;

pub(crate) async fn run(options: &Migrate) -> Outcome {
    let state = match options.action {
        MigrateAction::Print => {
            wiring::statements().for_each(|sql| println!("{sql}"));
            return Ok(());
        }
        MigrateAction::Up => {
            wiring::migrate(&options.options.store.url()?).await?;
            "migrated"
        }
        MigrateAction::Check => {
            wiring::open(&options.options.store.url()?, None).await?;
            "current"
        }
    };
    if options.options.json {
        println!("{}", serde_json::json!({ "state": state }));
    } else {
        println!("the tables are {state}");
    }
    Ok(())
}
