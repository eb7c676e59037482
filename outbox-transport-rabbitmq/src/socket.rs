//! The socket of a connection, which lapin does not close while a broker is silent.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A second handle to the socket of a connection.
///
/// Lapin serves each connection on a thread, which waits for the broker's part of the handshake without
/// a limit. Closing the socket ends the thread.
#[derive(Debug, Default)]
pub(crate) struct Socket {
    state: Mutex<State>,
    closed: Notify,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Connecting,
    Open(TcpStream),
    Closed,
}

impl Socket {
    /// Waits until the socket is closed. Only one may wait.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }

    /// Keeps a handle to `stream`, unless the socket was closed meanwhile.
    pub(crate) fn keep(&self, stream: &tokio::net::TcpStream) -> io::Result<()> {
        let mut state = self.state();
        if matches!(*state, State::Closed) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if let Some(stream) = second_handle(stream)? {
            *state = State::Open(stream);
        }
        Ok(())
    }

    pub(crate) fn close(&self) {
        if let State::Open(stream) = std::mem::replace(&mut *self.state(), State::Closed) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.closed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
