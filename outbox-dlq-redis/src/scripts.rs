//! The scripts, each in a file of its own, behind the files with what it shares with others. All
//! begin with `keys.lua`.

use redis::Script;

macro_rules! script {
    ($($name:literal),+) => {
        Script::new(concat!(
            include_str!("lua/keys.lua"),
            $(include_str!(concat!("lua/", $name, ".lua"))),+
        ))
    };
}

#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) record: Script,
    pub(crate) forget: Script,
    pub(crate) drain: Script,
    pub(crate) lease: Script,
    pub(crate) size: Script,
    pub(crate) prune: Script,
    pub(crate) server: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            record: script!("time", "record"),
            forget: script!("remove", "forget"),
            drain: script!("types", "time", "remove", "common", "drain"),
            lease: script!("types", "time", "remove", "common", "lease"),
            size: script!("types", "size"),
            prune: script!("types", "time", "remove", "common", "prune"),
            server: Script::new(include_str!("lua/server.lua")),
        }
    }
}
