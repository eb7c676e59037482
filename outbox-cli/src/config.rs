//! `outbox config`.

use crate::cli::{ConfigCommand, ConfigOptions};
use crate::failure::Failure;
use crate::settings::{LogFormat, Shown, innermost};
use crate::terminal::print;
use crate::wiring::Budget;
use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::{Map, Value, json};

pub(crate) fn run(command: &ConfigCommand, matches: &ArgMatches) -> Result<(), Failure> {
    match command {
        ConfigCommand::Show(options) => show(options, matches),
        ConfigCommand::Check(options) => check(options),
    }
}

fn check(options: &ConfigOptions) -> Result<(), Failure> {
    let plan = options.urls.plan(&options.settings)?;
    let stores = plan.services.len();
    let (least, most) = (Budget::least(&plan.services), plan.budget.limit());
    if options.json {
        let connections = json!({ "budget": most, "least": least });
        return print(json!({ "stores": stores, "connections": connections }));
    }
    print(format_args!("stores        {stores}"))?;
    print(format_args!(
        "connections   {most} to PostgreSQL, of which {least} are needed"
    ))
}

fn show(options: &ConfigOptions, matches: &ArgMatches) -> Result<(), Failure> {
    let matches = innermost(matches);
    let given = |key: &str| {
        let id = key.replace('-', "_");
        match matches
            .try_contains_id(&id)
            .is_ok()
            .then(|| matches.value_source(&id))??
        {
            ValueSource::CommandLine => Some("flag"),
            ValueSource::EnvVariable => Some("environment"),
            _ => None,
        }
    };
    let mut settings = options.settings.clone();
    settings.log_format = matches.get_one::<LogFormat>("log_format").copied();
    let stores = options.urls.shown(&settings, &given)?;
    for (number, (name, settings)) in stores.iter().enumerate() {
        if options.json {
            print(value(name.as_deref(), settings))?;
            continue;
        }
        if number > 0 {
            print("")?;
        }
        print_lines(name.as_deref(), settings)?;
    }
    Ok(())
}

/// As in a configuration file, with the source as a comment.
fn print_lines(name: Option<&str>, settings: &[Shown]) -> Result<(), Failure> {
    if let Some(name) = name {
        print("[[store]]")?;
        print(format_args!("name = {name:?}"))?;
    }
    for Shown { key, value, source } in settings {
        let line = format!("{key} = {value}");
        print(format_args!("{line:<48} # {source}"))?;
    }
    Ok(())
}

fn value(name: Option<&str>, settings: &[Shown]) -> Value {
    let one = |shown: &Shown| {
        let value = json!({ "value": shown.value, "source": shown.source });
        (shown.key.clone(), value)
    };
    let settings: Map<String, Value> = settings.iter().map(one).collect();
    json!({ "store": name, "settings": settings })
}
