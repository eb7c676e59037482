use super::file::ConfigFile;
use super::relay::RelaySettings;
use clap::{Arg, Args as _, Command};
use outbox_core::OutboxConfig;
use std::collections::BTreeSet;

/// The sample of docs/command.md.
fn sample() -> &'static str {
    let page = include_str!("../../../docs/command.md");
    let after = page.split_once("```toml\n").expect("a sample").1;
    after.split_once("```").expect("its end").0
}

fn parse(text: &str) -> ConfigFile {
    toml::from_str(text).expect("a configuration file")
}

fn options() -> Vec<Arg> {
    let command = RelaySettings::augment_args(Command::new("relay"));
    command.get_arguments().cloned().collect()
}

#[test]
fn the_sample_file_sets_every_key_to_its_default() {
    let file = parse(sample());
    assert_eq!(file.relay.config().unwrap(), OutboxConfig::default());
    let table: toml::Table = toml::from_str(sample()).unwrap();
    assert!(table.contains_key("store") && table.contains_key("heap"));
    let relay = table["relay"].as_table().unwrap();
    let keys: BTreeSet<&str> = relay.keys().map(String::as_str).collect();
    let options = options();
    let flags: BTreeSet<&str> = options.iter().filter_map(Arg::get_long).collect();
    assert_eq!(keys, flags);
    for option in &options {
        let value = &relay[option.get_long().unwrap()];
        let default = serde_json::to_string(value).unwrap();
        let default = default.trim_matches('"');
        let help = option.get_help().unwrap().to_string();
        assert!(help.ends_with(&format!("[default: {default}]")), "{help}");
    }
}

#[test]
fn each_option_has_one_name_and_reaches_the_relay() {
    for option in options() {
        let name = option.get_long().unwrap();
        let variable = format!("OUTBOX_{}", name.replace('-', "_").to_uppercase());
        assert_eq!(option.get_env().unwrap(), &*variable);
        if ["to", "block-keys", "drain-timeout"].contains(&name) {
            continue;
        }
        // Allowed with the defaults of all other options, and not a default itself.
        let (value, other) = match name {
            "heap-retention" => ("\"2min\"", "\"3min\""),
            "batch-size" | "failure-threshold" | "heap-page" | "concurrency" => ("7", "9"),
            "batch-bytes" => ("7000", "8000"),
            _ => ("\"25s\"", "\"26s\""),
        };
        let file = |value: &str| parse(&format!("[relay]\n{name} = {value}"));
        let settings = file(value).relay;
        let config = settings.config().unwrap();
        assert_ne!(config, OutboxConfig::default(), "{name} is not used");
        // What a flag sets goes before the file, and what it leaves open comes from there.
        let file = file(other);
        assert_eq!(
            settings.or(file.relay.clone()).config().unwrap(),
            config,
            "{name}"
        );
        let from_file = RelaySettings::default().or(file.relay).config().unwrap();
        assert_ne!(from_file, OutboxConfig::default(), "{name} is not merged");
    }
}
