//! `outbox migrate`.

use crate::cli::{MigrateAction, MigrateOptions};
use crate::failure::Failure;
use crate::wiring;

pub(crate) async fn run(options: &MigrateOptions) -> Result<(), Failure> {
    if options.action == MigrateAction::Print {
        for migration in wiring::migrations() {
            println!("{migration}");
        }
        return Ok(());
    }
    let Some(store) = &options.store else {
        let message = "no store: pass --store sqlite:PATH or set DATABASE_URL";
        return Err(Failure::Input(message.to_owned()));
    };
    if options.action == MigrateAction::Check {
        wiring::open(store).await?;
        println!("{store}: the tables are those of this version");
    } else {
        wiring::migrate(store).await?;
        println!("{store}: migrated");
    }
    Ok(())
}
