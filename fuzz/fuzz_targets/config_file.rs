//! The configuration file, and the relays that it asks for: each line of a refusal names the file.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../outbox-cli/src/failure.rs"]
mod failure;

#[path = "../../outbox-cli/src/ndjson/mod.rs"]
mod ndjson;
#[path = "../../outbox-cli/src/settings/mod.rs"]
mod settings;
#[path = "../../outbox-cli/src/time.rs"]
mod time;
#[path = "../../outbox-cli/src/wiring/mod.rs"]
mod wiring;

use clap::Parser;
use failure::Failure;
use libfuzzer_sys::fuzz_target;
use settings::{ConfigFile, RelaySettings, UrlOptions};
use std::path::PathBuf;
use std::sync::LazyLock;

/// In memory where there is such a folder.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    folder.join(format!("outbox-fuzz-{}.toml", std::process::id()))
});

/// `outbox relay --config FILE`.
#[derive(Parser)]
struct Relay {
    #[command(flatten)]
    urls: UrlOptions,
    #[command(flatten)]
    settings: RelaySettings,
}

fuzz_target!(|text: &[u8]| {
    std::fs::write(&*FILE, text).expect("written");
    if let Err(failure) = ConfigFile::load(Some(&FILE)) {
        assert!(matches!(failure, Failure::Input(_)), "{failure:?}");
        for line in failure.to_string().lines() {
            assert!(line.contains("outbox-fuzz-"), "{line:?}");
        }
        return;
    }
    let file = FILE.as_os_str();
    let relay = Relay::parse_from(["relay".as_ref(), "--config".as_ref(), file]);
    // It asks no server.
    drop(relay.urls.plan(&relay.settings));
});
