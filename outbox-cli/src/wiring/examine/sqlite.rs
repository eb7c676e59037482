//! A SQLite file.

use super::Finding;
use super::disk::{file_system, full};
use std::path::Path;

/// The numbers of `statfs(2)` for file systems on other machines. `FUSE` may be one.
const REMOTE: &[(u32, &str)] = &[
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
];

pub(crate) fn examine(path: &Path) -> Vec<Finding> {
    let Some((kind, room)) = file_system(path) else {
        return Vec::new();
    };
    let found = remote(kind, path).into_iter();
    let full = full(room, path, "appends and settlements fail");
    found.chain(full).collect()
}

fn remote(kind: u32, path: &Path) -> Option<Finding> {
    let (_, name) = REMOTE.iter().find(|(number, _)| *number == kind)?;
    Some(Finding::error(
        "filesystem",
        format!(
            "{} is on a file system of another machine ({name}), on which programs of several machines \
             do not see each other's locks: the file can be damaged",
            path.display()
        ),
        "move the file to a disk of this machine, or use PostgreSQL",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_machine_is_an_error() {
        let path = Path::new("/mnt/shop.db");
        let found = remote(0x6969, path).expect("a finding");
        assert!(found.problem.contains("/mnt/shop.db") && found.problem.contains("NFS"));
        assert!(remote(0xef53, path).is_none(), "ext4 is local");
    }
}
