//! The scripts, each in a file of its own. What all of them begin with is in `keys.lua`, and what
//! those that read entries share, in `common.lua`.

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
    pub(crate) memory: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            record: script!("common", "record"),
            forget: script!("forget"),
            drain: script!("common", "drain"),
            lease: script!("common", "lease"),
            size: script!("common", "size"),
            prune: script!("common", "prune"),
            memory: Script::new(include_str!("lua/memory.lua")),
        }
    }
}
