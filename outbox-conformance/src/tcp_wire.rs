//! A TCP proxy that a test can cut: the [`Wire`] for stores that are reached over TCP.

use crate::Wire;
use crate::effort::times;
use async_trait::async_trait;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::sync::Notify;

/// A TCP proxy on a port of 127.0.0.1 between clients and one server, for the groups `wire` of the
/// suites. It runs in its own threads and stops when it is dropped.
///
/// A method that sets a fault acts on the bytes that arrive after the call, on any connection. It
/// replaces the fault that was set before.
///
/// The fixture of a heap connects through the wire's port and returns the wire to the suite. A store
/// does the same with [`store::WireFixture`](crate::store::WireFixture):
///
/// ```no_run
/// use async_trait::async_trait;
/// use outbox_conformance::heap::{HeapFixture, WireFixture};
/// use outbox_conformance::{TcpWire, Wire};
/// use outbox_core::DlqHeap;
/// use std::sync::Arc;
/// # use outbox_core::DlqEntry;
/// # use std::time::Duration;
/// # async fn connect(url: &str) -> Arc<dyn DlqHeap> { todo!() }
///
/// struct MyFixture {
///     wire: TcpWire,
/// }
///
/// impl MyFixture {
///     fn new() -> Self {
///         let wire = TcpWire::to("127.0.0.1:7000").expect("a free port");
///         Self { wire }
///     }
/// }
///
/// #[async_trait]
/// impl HeapFixture for MyFixture {
///     // As for the other groups: without the wire.
/// #   async fn handle(&self) -> Arc<dyn DlqHeap> { todo!() }
/// #   async fn neighbour(&self) -> Arc<dyn DlqHeap> { todo!() }
/// #   async fn elapse(&self, time: Duration) { todo!() }
/// #   async fn plant(&self, entry: DlqEntry) { todo!() }
/// }
///
/// #[async_trait]
/// impl WireFixture for MyFixture {
///     async fn wired(&self) -> Arc<dyn DlqHeap> {
///         connect(&format!("my-store://127.0.0.1:{}", self.wire.port())).await
///     }
///
///     fn wire(&self) -> &dyn Wire {
///         &self.wire
///     }
/// }
///
/// outbox_conformance::dlq_heap_suite!(my_heap, MyFixture::new(), wire);
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct TcpWire {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// Where new connections go.
    server: Mutex<SocketAddr>,
    plan: Mutex<Plan>,
    /// Notified when the plan changes.
    changed: Condvar,
    /// Notified when a reply is held back.
    held: Notify,
    clients: Mutex<Vec<TcpStream>>,
    is_closed: AtomicBool,
}

/// What happens to the next bytes.
#[derive(Debug, Default)]
struct Plan {
    fault: Fault,
    effect: Effect,
    delay: Duration,
    /// How many bytes of each piece are sent one by one, if the wire dribbles.
    one_by_one: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Fault {
    #[default]
    None,
    /// After this number of pieces.
    CutRequest(usize),
    /// After this number of bytes.
    CutReply(usize),
    Silence,
    HoldReplies,
    HoldAll,
}

/// What has happened since the fault was set.
#[derive(Debug, Default, PartialEq)]
enum Effect {
    #[default]
    None,
    Cut,
    Silenced,
    Held,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Request,
    Reply,
}

impl TcpWire {
    /// A wire to the server at `address`, such as `127.0.0.1:5432`.
    ///
    /// # Errors
    ///
    /// If `address` cannot be resolved, or if no port is free.
    pub fn to(address: impl ToSocketAddrs) -> io::Result<Self> {
        let server = address.to_socket_addrs()?.next();
        let server = server.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let wire = Self {
            address: listener.local_addr()?,
            state: Arc::new(State {
                server: Mutex::new(server),
                plan: Mutex::default(),
                changed: Condvar::new(),
                held: Notify::new(),
                clients: Mutex::default(),
                is_closed: AtomicBool::new(false),
            }),
        };
        let state = Arc::clone(&wire.state);
        thread::spawn(move || serve(&listener, &state));
        Ok(wire)
    }

    /// The port of 127.0.0.1 to which clients connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connects new clients to another server, as a proxy or a DNS name does after a failover. Open
    /// connections stay as they are.
    pub fn redirect_to(&self, server: impl Into<SocketAddr>) {
        *self.state.server() = server.into();
    }

    /// Drops all bytes in both directions and closes no connection. A connection that loses a byte in
    /// this way passes nothing more, also after [`repair`](Wire::repair).
    pub fn go_silent(&self) {
        self.begin(Fault::Silence);
    }

    /// Whether a connection has lost bytes since the last [`go_silent`](Self::go_silent).
    #[must_use]
    pub fn has_silenced(&self) -> bool {
        self.plan().effect == Effect::Silenced
    }

    /// Holds each piece back for this time. Other faults do not end it.
    pub fn delay(&self, time: Duration) {
        self.plan().delay = time;
    }

    /// Sends the first 8 bytes of each piece one by one, and the rest in two halves. So a client
    /// receives each message in parts. Other faults do not end it. If `OUTBOX_CONFORMANCE_CASES` is 2 or
    /// more, 64 bytes are sent one by one.
    pub fn dribble(&self) {
        self.plan().one_by_one = Some(if times() > 1 { 64 } else { 8 });
    }

    fn begin(&self, fault: Fault) {
        let mut plan = self.plan();
        plan.fault = fault;
        plan.effect = Effect::None;
        self.state.changed.notify_all();
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.state.plan()
    }
}

/// A piece of a request is what one read of the client's socket returns.
#[async_trait]
impl Wire for TcpWire {
    fn cut_request(&self, pieces: usize) {
        self.begin(Fault::CutRequest(pieces));
    }

    fn cut_reply(&self, bytes: usize) {
        self.begin(Fault::CutReply(bytes));
    }

    fn cut_all(&self) {
        for client in self.state.clients().drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    fn hold_replies(&self) {
        self.begin(Fault::HoldReplies);
    }

    fn hold_all(&self) {
        self.begin(Fault::HoldAll);
    }

    fn has_held(&self) -> bool {
        self.plan().effect == Effect::Held
    }

    async fn held(&self) {
        loop {
            // It receives each notification from here on, also before it is polled.
            let held = self.state.held.notified();
            if self.has_held() {
                return;
            }
            held.await;
        }
    }

    fn repair(&self) -> bool {
        let mut plan = self.plan();
        plan.fault = Fault::None;
        self.state.changed.notify_all();
        let has_cut = plan.effect == Effect::Cut;
        if has_cut {
            plan.effect = Effect::None;
        }
        has_cut
    }
}

impl Drop for TcpWire {
    fn drop(&mut self) {
        self.state.is_closed.store(true, SeqCst);
        self.repair();
        // The listener accepts this connection and ends. Open connections end with their clients.
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

    /// The plan as soon as it holds nothing back in this direction.
    fn passable(&self, way: Way) -> MutexGuard<'_, Plan> {
        let is_held = |plan: &mut Plan| {
            let is_held = match plan.fault {
                Fault::HoldAll => true,
                Fault::HoldReplies => way == Way::Reply,
                _ => false,
            };
            if is_held && way == Way::Reply {
                plan.effect = Effect::Held;
                self.held.notify_waiters();
            }
            is_held
        };
        let plan = self.changed.wait_while(self.plan(), is_held);
        plan.unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of `count` bytes pass, and the state of the connection after them.
    fn judge(&self, way: Way, count: usize) -> (usize, End) {
        let mut plan = self.passable(way);
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
        match end {
            End::Open => {}
            End::Silent => plan.effect = Effect::Silenced,
            End::Cut => {
                plan.fault = Fault::None;
                plan.effect = Effect::Cut;
            }
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
        // If the server cannot be reached, the client's connection is closed.
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
            // When one side closes or fails, both are closed.
            let _ = pump(&state, way, &from, &to, &is_silent);
            if !is_silent.load(SeqCst) {
                let _ = to.shutdown(Shutdown::Both);
            }
            let _ = from.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

/// Passes bytes in one direction until the connection ends or is cut.
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
    let (delay, one_by_one) = {
        let plan = state.plan();
        (plan.delay, plan.one_by_one)
    };
    if !delay.is_zero() {
        thread::sleep(delay);
    }
    let Some(one_by_one) = one_by_one else {
        return to.write_all(piece);
    };
    let (head, rest) = piece.split_at(piece.len().min(one_by_one));
    for byte in head.chunks(1) {
        to.write_all(byte)?;
    }
    let (one, other) = rest.split_at(rest.len() / 2);
    to.write_all(one)?;
    to.write_all(other)
}
