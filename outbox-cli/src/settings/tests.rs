use super::file::ConfigFile;
use super::relay::RelaySettings;
use super::service::merged;
use clap::{Arg, Args as _, Command};
use outbox_core::OutboxConfig;
use std::collections::{BTreeMap, BTreeSet};

/// The sample of docs/command.md.
fn sample() -> &'static str {
    let page = include_str!("../../../docs/command.md");
    let after = page.split_once("```toml\n").expect("a sample").1;
    after.split_once("```").expect("its end").0
}

/// The example at the top of the repository.
const EXAMPLE: &str = include_str!("../../../outbox.example.toml");

fn parse(text: &str) -> ConfigFile {
    ConfigFile::parse(text).expect("a configuration file")
}

fn problems(text: &str) -> Vec<String> {
    ConfigFile::parse(text).expect_err("refused")
}

fn options() -> Vec<Arg> {
    let command = RelaySettings::augment_args(Command::new("relay"));
    command.get_arguments().cloned().collect()
}

/// The keys without a default are in comments.
const WITHOUT_DEFAULT: [(&str, &str); 2] = [("template", "that of the broker"), ("listen", "none")];

#[test]
fn the_sample_files_set_every_key_to_its_default() {
    for text in [sample(), EXAMPLE] {
        let settings = parse(text).relay.settings;
        assert_eq!(settings.config().unwrap(), OutboxConfig::default());
        assert_eq!(settings.values(), RelaySettings::defaults().values());
        let table: toml::Table = toml::from_str(text).unwrap();
        let relay = table["relay"].as_table().unwrap();
        for (name, _) in WITHOUT_DEFAULT {
            assert!(text.contains(&format!("\n# {name} = \"")), "{name}");
        }
        let without = WITHOUT_DEFAULT.map(|(name, _)| name);
        let keys = relay.keys().map(String::as_str).chain(without);
        let keys: BTreeSet<&str> = keys.collect();
        let options = options();
        let flags = options.iter().filter_map(Arg::get_long);
        // The flag of all commands.
        let flags: BTreeSet<&str> = flags.chain(["log-format"]).collect();
        assert_eq!(keys, flags);
        assert_eq!(keys, RelaySettings::keys().into_iter().collect());
        for option in &options {
            let name = option.get_long().unwrap();
            let help = option.get_help().unwrap().to_string();
            let default = match relay.get(name) {
                Some(value) => serde_json::to_string(value).unwrap(),
                None => BTreeMap::from(WITHOUT_DEFAULT)[name].to_owned(),
            };
            let default = default.trim_matches('"');
            assert!(help.ends_with(&format!("[default: {default}]")), "{help}");
        }
    }
    let table: toml::Table = toml::from_str(sample()).unwrap();
    assert!(table.contains_key("store") && table.contains_key("heap"));
}

#[test]
fn the_example_has_every_key_of_a_store() {
    let file = parse(EXAMPLE);
    let table: toml::Table = toml::from_str(EXAMPLE).unwrap();
    let stores = table["store"].as_array().unwrap().iter();
    let keys: BTreeSet<&str> = stores
        .flat_map(|store| store.as_table().unwrap().keys().map(String::as_str))
        .collect();
    for key in ["name", "url", "heap", "to", "template", "form"] {
        assert!(keys.contains(key), "{key}");
    }
    assert!(file.stores.len() > 1);
    let refused = problems("[[store]]\nname = \"a\"\nurl = \"sqlite:a\"\nx = 1");
    for key in ["name", "url", "heap", "to", "template", "batch-size"] {
        assert!(refused[0].contains(&format!("`{key}`")), "{refused:?}");
    }
}

#[test]
fn all_problems_are_reported_with_their_lines() {
    let text = "stor = \"x\"\n[relay]\nbatch-size = \"many\"\nlease = 3\nbatch-seize = 1\n\
                [[store]]\nurl = \"sqlite:a\"\n[[store]]\nname = \"a:b\"\nurl = 5\n\
                [[store]]\nname = \"c\"\nurl = \"sqlite:c\"\nconnections = 1\n\
                [[store]]\nname = \"c\"\nurl = { file = \"none\" }\n";
    let found = problems(text);
    let lines = [
        "line 1: unknown key `stor`; allowed: `store`, `heap`, `relay`",
        "line 3: `batch-size`: ",
        "line 4: `lease`: ",
        "line 5: unknown key `batch-seize`; allowed: ",
        "line 6: the store has no `name`",
        "line 8: the name of the store is \"a:b\"",
        "line 10: `url`: it must be a URL, or { file",
        "line 14: `connections` is of the process",
        "line 15: the store \"c\" of line 11 has the same name",
        "line 17: `url`: cannot read none",
    ];
    assert_eq!(found.len(), lines.len(), "{found:#?}");
    for (found, line) in found.iter().zip(lines) {
        assert!(found.starts_with(line), "{found}");
    }
}

#[test]
fn a_template_belongs_to_the_destination_of_its_own_level() {
    let file = parse(
        "[relay]\nto = \"nats://n\"\ntemplate = \"a.{type}\"\n\
         [[store]]\nname = \"a\"\nurl = \"sqlite:a\"\n\
         [[store]]\nname = \"b\"\nurl = \"sqlite:b\"\nto = \"redis://r\"\n\
         [[store]]\nname = \"c\"\nurl = \"sqlite:c\"\ntemplate = \"c {key}\"\nform = \"raw\"\n",
    );
    let to = |table| merged(&file, &RelaySettings::default(), Some(table)).destination();
    let to: Vec<String> = file.stores.iter().map(|table| to(table).unwrap()).collect();
    assert_eq!(to[0], "nats://n?subject=a.%7Btype%7D");
    assert_eq!(to[1], "redis://r");
    assert_eq!(to[2], "nats://n?subject=c+%7Bkey%7D&form=raw");
}

#[test]
fn each_option_has_one_name_and_reaches_the_relay() {
    for option in options() {
        let name = option.get_long().unwrap();
        let variable = format!("OUTBOX_{}", name.replace('-', "_").to_uppercase());
        assert_eq!(option.get_env().unwrap(), &*variable);
        if [
            "to",
            "template",
            "form",
            "connections",
            "listen",
            "health-max-age",
            "block-keys",
            "drain-timeout",
        ]
        .contains(&name)
        {
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
        let settings = file(value).relay.settings;
        let config = settings.config().unwrap();
        assert_ne!(config, OutboxConfig::default(), "{name} is not used");
        // What a flag sets goes before the file, and what it leaves open comes from there.
        let file = file(other);
        assert_eq!(
            settings.or(file.relay.settings.clone()).config().unwrap(),
            config,
            "{name}"
        );
        let from_file = RelaySettings::default()
            .or(file.relay.settings)
            .config()
            .unwrap();
        assert_ne!(from_file, OutboxConfig::default(), "{name} is not merged");
    }
}
