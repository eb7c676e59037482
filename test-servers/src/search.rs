//! Where the programs of servers are installed.

use std::path::PathBuf;

/// The folders in which servers are searched for: those of `PATH`, then those of PostgreSQL on Debian
/// and with Homebrew, the newest version first, then those of RabbitMQ and PgBouncer on Debian.
#[must_use]
pub fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
    ] {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let mut versions: Vec<(u32, PathBuf)> = entries
            .filter_map(|entry| {
                let name = entry.file_name();
                let version = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
                Some((version, entry.path().join("bin")))
            })
            .collect();
        versions.sort_unstable_by(|one, two| two.cmp(one));
        folders.extend(versions.into_iter().map(|(_, folder)| folder));
    }
    folders.extend(["/usr/lib/rabbitmq/bin", "/usr/sbin"].map(PathBuf::from));
    folders
}

/// The first of `folders` that has all of `programs`.
pub(crate) fn find(programs: &[&str], folders: &[PathBuf]) -> Option<PathBuf> {
    let has_all = |folder: &&PathBuf| {
        programs
            .iter()
            .all(|program| folder.join(program).is_file())
    };
    folders.iter().find(has_all).cloned()
}
