//! The folder for the files of a fixture.

use std::path::Path;
use tempfile::TempDir;

/// A new folder for the files of one case: removed after a success, and kept after a failure, which
/// then says where it is.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// An empty folder among the machine's temporary files.
    #[must_use]
    pub fn new() -> Self {
        Self(TempDir::new().unwrap_or_else(|error| panic!("no folder for the case: {error}")))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            eprintln!("the data of this case is in {}", self.path().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Folder;

    #[test]
    fn a_folder_stays_after_a_failure_only() {
        let sound = Folder::new();
        let path = sound.path().to_owned();
        drop(sound);
        assert!(!path.exists());

        let folder = Folder::new();
        let path = folder.path().to_owned();
        let failed = std::thread::spawn(move || {
            let _folder = folder;
            panic!("a case that fails");
        });
        failed.join().unwrap_err();
        assert!(path.exists());
        std::fs::remove_dir(path).unwrap();
    }
}
