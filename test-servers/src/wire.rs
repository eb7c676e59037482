//! A wire between a client and a server that a test can cut.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// So many bytes of each piece go one by one where a wire [dribbles](Wire::dribble).
const ONE_BY_ONE: usize = 64;

/// A proxy on a port of 127.0.0.1 that passes bytes between its clients and a server, in threads of
/// its own. A command meets the bytes that come after it, on any connection.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// Where new connections go.
    server: Mutex<SocketAddr>,
    plan: Mutex<Plan>,
    clients: Mutex<Vec<TcpStream>>,
    is_closed: AtomicBool,
}

/// What happens to the next bytes.
#[derive(Debug, Default)]
struct Plan {
    fault: Fault,
    has_cut: bool,
    has_silenced: bool,
    delay: Duration,
    dribbles: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Fault {
    #[default]
    None,
    /// After so many more pieces.
    CutRequest(usize),
    /// After so many more bytes.
    CutReply(usize),
    Silence,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Request,
    Reply,
}

impl Wire {
    /// A wire to the server at `address`, such as `127.0.0.1:5432`.
    ///
    /// # Errors
    ///
    /// Those of the address, and of the port.
    pub fn to(address: impl ToSocketAddrs) -> io::Result<Self> {
        let server = address.to_socket_addrs()?.next();
        let server = server.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let wire = Self {
            address: listener.local_addr()?,
            state: Arc::new(State {
                server: Mutex::new(server),
                plan: Mutex::default(),
                clients: Mutex::default(),
                is_closed: AtomicBool::new(false),
            }),
        };
        let state = Arc::clone(&wire.state);
        thread::spawn(move || serve(&listener, &state));
        Ok(wire)
    }

    /// The port for clients.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Passes the next `pieces` that clients send, each what one of them wrote at once, and cuts the
    /// connection on which the one after them comes, before any of that reaches the server.
    pub fn cut_request(&self, pieces: usize) {
        self.begin(Fault::CutRequest(pieces));
    }

    /// Passes the next `bytes` that the server sends, and cuts the connection on which the one after
    /// them comes. So the server has answered, and the client has a part of it.
    pub fn cut_reply(&self, bytes: usize) {
        self.begin(Fault::CutReply(bytes));
    }

    /// Cuts all connections as they are.
    pub fn cut_all(&self) {
        for client in self.state.clients().drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    /// Leads new connections to the server at `port` of 127.0.0.1, as a proxy or a name does that is
    /// moved to another server. Connections that are open stay as they are.
    pub fn lead_to(&self, port: u16) {
        *self.state.server() = SocketAddr::from(([127, 0, 0, 1], port));
    }

    /// From now on nothing arrives, in either direction, and no connection ends. One that had
    /// something to say in this time is silent for ever.
    pub fn go_silent(&self) {
        self.begin(Fault::Silence);
    }

    /// Whether a connection had something to say since the wire went silent.
    #[must_use]
    pub fn has_silenced(&self) -> bool {
        self.plan().has_silenced
    }

    /// Ends the fault, and tells whether a connection was cut since it was ordered.
    #[must_use]
    pub fn mend(&self) -> bool {
        let mut plan = self.plan();
        plan.fault = Fault::None;
        std::mem::take(&mut plan.has_cut)
    }

    /// Keeps each piece back for so long.
    pub fn delay(&self, time: Duration) {
        self.plan().delay = time;
    }

    /// Passes the first bytes of each piece one by one, and the rest in two halves, so that a reader
    /// meets messages in parts.
    pub fn dribble(&self) {
        self.plan().dribbles = true;
    }

    fn begin(&self, fault: Fault) {
        let mut plan = self.plan();
        plan.fault = fault;
        plan.has_cut = false;
        plan.has_silenced = false;
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.state.plan()
    }
}

#[cfg(feature = "conformance")]
impl outbox_conformance::Wire for Wire {
    fn cut_request(&self, pieces: usize) {
        self.cut_request(pieces);
    }

    fn cut_reply(&self, bytes: usize) {
        self.cut_reply(bytes);
    }

    fn cut_all(&self) {
        self.cut_all();
    }

    fn mend(&self) -> bool {
        self.mend()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.state.is_closed.store(true, SeqCst);
        // Wakes the listener, which then goes. Connections go with their clients.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn server(&self) -> MutexGuard<'_, SocketAddr> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clients(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of `count` bytes pass, and what becomes of the connection then.
    fn judge(&self, way: Way, count: usize) -> (usize, End) {
        let mut plan = self.plan();
        let (passing, end) = match (plan.fault, way) {
            (Fault::Silence, _) => (0, End::Silent),
            (Fault::CutRequest(0), Way::Request) => (0, End::Cut),
            (Fault::CutRequest(left), Way::Request) => {
                plan.fault = Fault::CutRequest(left - 1);
                (count, End::Open)
            }
            (Fault::CutReply(left), Way::Reply) if count > left => (left, End::Cut),
            (Fault::CutReply(left), Way::Reply) => {
                plan.fault = Fault::CutReply(left - count);
                (count, End::Open)
            }
            _ => (count, End::Open),
        };
        plan.has_silenced |= end == End::Silent;
        if end == End::Cut {
            plan.fault = Fault::None;
            plan.has_cut = true;
        }
        (passing, end)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Open,
    Silent,
    Cut,
}

fn serve(listener: &TcpListener, state: &Arc<State>) {
    for client in listener.incoming() {
        if state.is_closed.load(SeqCst) {
            return;
        }
        // A client whose server is away finds its connection closed.
        let server = *state.server();
        let _ = client.and_then(|client| join(client, server, state));
    }
}

fn join(client: TcpStream, server: SocketAddr, state: &Arc<State>) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    state.clients().push(client.try_clone()?);
    let is_silent = Arc::new(AtomicBool::new(false));
    for (way, from, to) in [
        (Way::Request, client.try_clone()?, server.try_clone()?),
        (Way::Reply, server, client),
    ] {
        let (state, is_silent) = (Arc::clone(state), Arc::clone(&is_silent));
        thread::spawn(move || {
            // An end of either side is an end of both, however it came.
            let _ = pump(&state, way, &from, &to, &is_silent);
            if !is_silent.load(SeqCst) {
                let _ = to.shutdown(Shutdown::Both);
            }
            let _ = from.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

/// Passes what comes until the connection ends or is cut.
fn pump(
    state: &State,
    way: Way,
    mut from: &TcpStream,
    to: &TcpStream,
    is_silent: &AtomicBool,
) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        if is_silent.load(SeqCst) {
            continue;
        }
        let (passing, end) = state.judge(way, count);
        pass(state, to, &buffer[..passing])?;
        match end {
            End::Open => {}
            End::Silent => is_silent.store(true, SeqCst),
            End::Cut => return Ok(()),
        }
    }
}

fn pass(state: &State, mut to: &TcpStream, piece: &[u8]) -> io::Result<()> {
    let (delay, dribbles) = {
        let plan = state.plan();
        (plan.delay, plan.dribbles)
    };
    if !delay.is_zero() {
        thread::sleep(delay);
    }
    if !dribbles {
        return to.write_all(piece);
    }
    let (head, rest) = piece.split_at(piece.len().min(ONE_BY_ONE));
    for byte in head.chunks(1) {
        to.write_all(byte)?;
    }
    let (one, other) = rest.split_at(rest.len() / 2);
    to.write_all(one)?;
    to.write_all(other)
}
