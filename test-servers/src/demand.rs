//! How a test asks the program that runs the tests for a server.

use crate::{Error, Kind};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

/// The environment variable that names host and port of the program of this crate to the tests.
pub const PROGRAM: &str = "OUTBOX_TEST_SERVERS";

/// Asks for the URL of a server, and waits until it has started. `None` if the tests do not run under the
/// program.
///
/// The question is the server's variable. The answer is `ok` and the URL, or `no` and the reason.
pub(crate) fn ask(kind: Kind) -> Result<Option<String>, Error> {
    let Ok(address) = std::env::var(PROGRAM) else {
        return Ok(None);
    };
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(format!("{}\n", kind.variable()).as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    match answer.trim_end().split_once(' ') {
        Some(("ok", url)) => Ok(Some(url.to_owned())),
        Some((_, reason)) => Err(Error::NotBrought {
            reason: reason.to_owned(),
        }),
        None => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
    }
}
