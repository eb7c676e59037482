//! The scripts, each in a separate file that follows the files with shared functions. All start with
//! `keys.lua`.

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
    pub(crate) record_one: Script,
    pub(crate) forget: Script,
    pub(crate) tidy: Script,
    pub(crate) drain: Script,
    pub(crate) lease: Script,
    pub(crate) size: Script,
    pub(crate) prune: Script,
    pub(crate) server: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            record: script!("time", "count", "record"),
            record_one: script!("time", "record_one"),
            forget: script!("remove", "forget"),
            tidy: script!("remove", "tidy"),
            drain: script!(
                "types", "time", "count", "remove", "common", "pages", "due", "drain"
            ),
            lease: script!(
                "types", "time", "count", "remove", "common", "pages", "due", "lease"
            ),
            size: script!("types", "size"),
            prune: script!(
                "types", "time", "count", "remove", "common", "pages", "prune"
            ),
            server: Script::new(include_str!("lua/server.lua")),
        }
    }
}
