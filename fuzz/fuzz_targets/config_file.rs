//! The configuration file, and what the relay makes of it: a refusal is one line and names the file.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../outbox-cli/src/failure.rs"]
mod failure;

#[path = "../../outbox-cli/src/settings"]
mod settings {
    pub(crate) mod file;
    mod period;
    pub(crate) mod relay;
}

use failure::Failure;
use libfuzzer_sys::fuzz_target;
use settings::{file::ConfigFile, relay::RelaySettings};
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

fuzz_target!(|text: &[u8]| {
    std::fs::write(&*FILE, text).expect("written");
    let refused = match ConfigFile::load(Some(&FILE)) {
        Ok(file) => file.relay_config(&RelaySettings::default()).err(),
        Err(failure) => Some(failure),
    };
    if let Some(failure) = refused {
        assert!(matches!(failure, Failure::Input(_)), "{failure:?}");
        let told = failure.to_string();
        assert!(
            told.contains("outbox-fuzz-") && !told.contains('\n'),
            "{told:?}"
        );
    }
});
