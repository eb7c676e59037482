//! Lines at the end of a regular file.

use super::Sink;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The start of each line. An unfinished line of a killed relay is recognised by it.
const BEGINNING: &[u8] = br#"{"id":""#;

/// How often lines are written again because the path named another file behind the write. Then the
/// call fails, and the worker tries again.
const MOVES: usize = 10;

/// The file that a path names, for this process alone. Lines are on disk, and in the file that the
/// path names, before they are answered.
#[derive(Debug)]
pub(crate) struct LineFile {
    path: PathBuf,
    /// None after a failure: opening repairs what a write left.
    open: Option<File>,
}

impl LineFile {
    /// Opens the file; creates it if it is missing.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = Self {
            path: path.to_owned(),
            open: None,
        };
        file.named()?;
        Ok(file)
    }

    /// The file that the path names now.
    fn named(&mut self) -> io::Result<&mut File> {
        let open = match self.open.take() {
            Some(file) if is_named(&self.path, &file) => file,
            _ => open(&self.path).map_err(|error| self.refused(&error))?,
        };
        Ok(self.open.insert(open))
    }

    fn refused(&self, error: &io::Error) -> io::Error {
        let path = self.path.display();
        let text = format!("cannot write to the file {path}: {error}");
        io::Error::new(error.kind(), text)
    }
}

impl Sink for LineFile {
    /// The path is looked at again behind the write: what went to a file that was removed, renamed
    /// or truncated meanwhile is written again, to the one that has the name now.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        for _ in 0..MOVES {
            match append(self.named()?, lines) {
                Ok(false) => {}
                Ok(true) => {
                    let file = self.open.as_ref();
                    if file.is_some_and(|file| is_named(&self.path, file)) {
                        return Ok(());
                    }
                }
                Err(error) => {
                    self.open = None;
                    return Err(self.refused(&error));
                }
            }
        }
        let why = "it is removed, renamed or truncated again and again";
        Err(self.refused(&io::Error::other(why)))
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.named().map(|_| ())
    }
}

/// Appends the lines, and says whether they are still there when they are on disk.
fn append(file: &mut File, lines: &[u8]) -> io::Result<bool> {
    let before = file.seek(SeekFrom::End(0))?;
    let written = file.write_all(lines).and_then(|()| file.sync_data());
    let length = file.metadata()?.len();
    match written {
        Ok(()) => Ok(length >= before + lines.len() as u64),
        Err(error) => {
            // Half a batch must not stay: it is not answered, and a torn line would follow.
            if length > before {
                file.set_len(before)?;
            }
            Err(error)
        }
    }
}

/// Whether the path names this file, and not one that was put in its place, or none.
#[cfg(unix)]
fn is_named(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let (named, open) = (std::fs::metadata(path), file.metadata());
    named.is_ok_and(|named| open.is_ok_and(|open| place(named) == place(open)))
}

#[cfg(not(unix))]
fn is_named(path: &Path, _: &File) -> bool {
    path.exists()
}

/// Opens the file for this process alone. A last line that a killed relay left unfinished was never
/// answered, so it is cut and will be written again.
fn open(path: &Path) -> io::Result<File> {
    let is_new = !path.exists();
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(io::Error::other("another relay is writing to it"));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    if is_new {
        sync_folder(path)?;
    }
    cut_torn_line(&mut file)?;
    Ok(file)
}

/// Without it the name of a new file may be gone after a crash of the machine, and its lines too.
fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

fn cut_torn_line(file: &mut File) -> io::Result<()> {
    let (whole, torn) = torn_line(file)?;
    if torn.is_empty() {
        return Ok(());
    }
    if !(torn.starts_with(BEGINNING) || BEGINNING.starts_with(&torn)) {
        let why = "its last line has no end and is not of a relay; is it the right file?";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    file.set_len(whole)
}

/// Where the last whole line ends, and what is behind it.
fn torn_line(file: &mut File) -> io::Result<(u64, Vec<u8>)> {
    const BLOCK: u64 = 8192;
    let length = file.seek(SeekFrom::End(0))?;
    let mut start = length;
    let mut tail = Vec::new();
    while start > 0 && !tail.contains(&b'\n') {
        let size = start.min(BLOCK);
        start -= size;
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        Read::by_ref(file).take(size).read_to_end(&mut block)?;
        block.append(&mut tail);
        tail = block;
    }
    let end = tail
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |last| last + 1);
    Ok((start + end as u64, tail.split_off(end)))
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
