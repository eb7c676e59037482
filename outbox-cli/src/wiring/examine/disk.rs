//! The disk of a file.

use super::Finding;
use std::path::Path;

/// Less room is found. A write-ahead log of this size is usual while events come fast.
const ROOM: u64 = 64 * 1024 * 1024;

/// The disk of a file that a relay writes to.
pub(crate) fn full_disk(path: &Path) -> Option<Finding> {
    let (_, room) = file_system(path)?;
    full(room, path, "events wait")
}

/// The number of the file system's kind, and how many bytes are left. None: it is not known.
#[cfg(target_os = "linux")]
pub(super) fn file_system(path: &Path) -> Option<(u32, u64)> {
    let system = rustix::fs::statfs(folder(path)).ok()?;
    let kind = u32::try_from(system.f_type & 0xffff_ffff).unwrap_or_default();
    let blocks = system.f_bavail;
    let room = blocks.saturating_mul(u64::try_from(system.f_bsize).unwrap_or_default());
    Some((kind, room))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn file_system(_: &Path) -> Option<(u32, u64)> {
    None
}

/// The folder of a file.
pub(crate) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// `effect`: what happens when it is full.
pub(super) fn full(room: u64, path: &Path, effect: &str) -> Option<Finding> {
    if room >= ROOM {
        return None;
    }
    let (room, least) = (room / 1024 / 1024, ROOM / 1024 / 1024);
    Some(Finding::error(
        "disk",
        format!(
            "the disk of {} has {room} MiB left, but should have {least} MiB: {effect} when it is full",
            path.display()
        ),
        "make room: remove files, or move this one",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_an_error() {
        let path = Path::new("/mnt/shop.db");
        let found = full(3 * 1024 * 1024, path, "events wait").expect("a finding");
        assert!(found.problem.contains("has 3 MiB left"), "{found:?}");
        assert!(full(ROOM, path, "events wait").is_none());
    }
}
