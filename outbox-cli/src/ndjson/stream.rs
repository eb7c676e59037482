//! Lines to what has no end to append to and no disk to sync: stdout, a FIFO, a device or a socket.

use super::Sink;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, mem, thread};

/// Between two tries of a write to what does not block and is full.
const PAUSE: Duration = Duration::from_millis(10);

/// A stream has taken responsibility when the bytes are in it.
pub(crate) struct LineStream {
    place: Place,
    open: Option<Box<dyn Write + Send>>,
    /// The end of a line of which a failed write left the beginning in the stream.
    rest: Vec<u8>,
}

#[derive(Debug)]
enum Place {
    Stdout,
    /// A FIFO or a device. To open a FIFO waits for a reader.
    Node(PathBuf),
    #[cfg(unix)]
    Socket(PathBuf),
}

impl LineStream {
    pub(crate) fn stdout() -> Self {
        Self::at(Place::Stdout)
    }

    pub(crate) fn node(path: PathBuf) -> Self {
        Self::at(Place::Node(path))
    }

    #[cfg(unix)]
    pub(crate) fn socket(path: PathBuf) -> Self {
        Self::at(Place::Socket(path))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            open: None,
            rest: Vec::new(),
        }
    }

    /// Writes all bytes. After an error it keeps the rest of a line that is written in part. `is_torn`
    /// says whether `bytes` starts in the middle of a line.
    fn write_all(&mut self, mut bytes: &[u8], mut is_torn: bool) -> io::Result<()> {
        let out = match &mut self.open {
            Some(out) => out,
            closed => closed.insert(self.place.open()?),
        };
        while !bytes.is_empty() {
            match out.write(bytes) {
                Ok(count) if count > 0 => {
                    is_torn = bytes[count - 1] != b'\n';
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
                failed => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let end = end.filter(|_| is_torn).map_or(0, |end| end + 1);
                    self.rest = bytes[..end].to_vec();
                    return Err(failed.err().unwrap_or(ErrorKind::WriteZero.into()));
                }
            }
        }
        out.flush()
    }

    /// Stdout stays as it is. All else is opened again by the next write, perhaps for another reader,
    /// who has nothing of a line that was begun.
    fn failed(&mut self, error: io::Error) -> io::Error {
        let Some(path) = self.place.path() else {
            return error;
        };
        self.open = None;
        if matches!(
            error.kind(),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
        ) {
            self.rest.clear();
        }
        // A broken pipe of stdout ends the relay; another one only means that a reader has gone.
        let kind = match error.kind() {
            ErrorKind::BrokenPipe => ErrorKind::Other,
            kind => kind,
        };
        io::Error::new(kind, format!("cannot write to {}: {error}", path.display()))
    }
}

impl Sink for LineStream {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut bytes = mem::take(&mut self.rest);
        let is_torn = !bytes.is_empty();
        bytes.extend_from_slice(lines);
        self.write_all(&bytes, is_torn)
            .map_err(|error| self.failed(error))
    }

    /// Opens nothing, as to open a FIFO waits for a reader. The next write opens the path.
    fn reopen(&mut self) -> io::Result<()> {
        let Some(path) = self.place.path() else {
            return Ok(());
        };
        match fs::metadata(path) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }
}

impl Place {
    /// None: stdout.
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Stdout => None,
            Self::Node(path) => Some(path),
            #[cfg(unix)]
            Self::Socket(path) => Some(path),
        }
    }

    fn open(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(match self {
            Self::Stdout => stdout()?,
            Self::Node(path) => Box::new(OpenOptions::new().write(true).open(path)?),
            #[cfg(unix)]
            Self::Socket(path) => Box::new(std::os::unix::net::UnixStream::connect(path)?),
        })
    }
}

/// Without a buffer, so that it is known how much of a line was written.
#[cfg(unix)]
fn stdout() -> io::Result<Box<dyn Write + Send>> {
    use std::os::fd::AsFd;
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(Box::new(std::fs::File::from(stdout)))
}

#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, reason = "as on Unix")]
fn stdout() -> io::Result<Box<dyn Write + Send>> {
    Ok(Box::new(io::stdout()))
}

impl fmt::Debug for LineStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LineStream").field(&self.place).finish()
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
