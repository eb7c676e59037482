//! The socket of a connection, which lapin does not close while a broker is silent.

use std::io;
use std::net::{Shutdown, TcpStream};

/// A second handle to the socket of a connection.
///
/// Lapin serves each connection on a thread, which waits for the broker's part of the handshake without
/// a limit. Closing the socket ends the thread.
#[derive(Debug, Default)]
pub(crate) struct Socket(Option<TcpStream>);

impl Socket {
    pub(crate) fn of(stream: &tokio::net::TcpStream) -> io::Result<Self> {
        Ok(Self(second_handle(stream)?))
    }

    pub(crate) fn close(&self) {
        if let Some(stream) = &self.0 {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(unix)]
fn second_handle(stream: &tokio::net::TcpStream) -> io::Result<Option<TcpStream>> {
    use std::os::fd::AsFd;
    let handle = stream.as_fd().try_clone_to_owned()?;
    Ok(Some(handle.into()))
}

#[cfg(windows)]
fn second_handle(stream: &tokio::net::TcpStream) -> io::Result<Option<TcpStream>> {
    use std::os::windows::io::AsSocket;
    let handle = stream.as_socket().try_clone_to_owned()?;
    Ok(Some(handle.into()))
}

#[cfg(not(any(unix, windows)))]
fn second_handle(_stream: &tokio::net::TcpStream) -> io::Result<Option<TcpStream>> {
    Ok(None)
}
