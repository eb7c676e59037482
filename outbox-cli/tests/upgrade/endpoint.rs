//! An HTTP endpoint that knows which relay sent what, and in which order.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use outbox_core::EventId;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// The type of the events that the endpoint may refuse.
pub(crate) const POISON: &str = "test.poison";

/// How long a relay may take for what it must do in the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request of a relay.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// The name of the relay.
    pub(crate) relay: String,
    pub(crate) id: EventId,
    pub(crate) key: Option<String>,
    pub(crate) body: Bytes,
    pub(crate) accepted: bool,
}

/// Each relay has its own path.
pub(crate) struct Endpoint {
    seen: Arc<Seen>,
    address: SocketAddr,
    _runtime: Runtime,
}

#[derive(Default)]
struct Seen {
    state: Mutex<Log>,
    grown: Condvar,
}

#[derive(Default)]
struct Log {
    arrivals: Vec<Arrival>,
    refuses_poison: bool,
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.state.lock().expect("no handler panics")
    }
}

impl Endpoint {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let seen = Arc::<Seen>::default();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("bound");
        let address = listener.local_addr().expect("an address");
        let app = Router::new().fallback(take).with_state(Arc::clone(&seen));
        runtime.spawn(async { axum::serve(listener, app).await });
        Self {
            seen,
            address,
            _runtime: runtime,
        }
    }

    /// The destination of a relay.
    pub(crate) fn url(&self, relay: &str) -> String {
        format!("http://{}/{relay}#allow=127.0.0.0/8", self.address)
    }

    /// Poison is refused permanently, so it becomes a dead letter, or is accepted.
    pub(crate) fn refuse_poison(&self, refuses: bool) {
        self.seen.lock().refuses_poison = refuses;
    }

    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.seen.lock().arrivals.clone()
    }

    /// How many requests there have been.
    pub(crate) fn mark(&self) -> usize {
        self.seen.lock().arrivals.len()
    }

    /// Waits for a request after a mark.
    pub(crate) fn wait(
        &self,
        what: &str,
        mark: usize,
        is_it: impl Fn(&Arrival) -> bool,
    ) -> Arrival {
        let found = |log: &Log| log.arrivals[mark..].iter().find(|one| is_it(one)).cloned();
        let missing = |log: &mut Log| found(log).is_none();
        let log = self
            .seen
            .grown
            .wait_timeout_while(self.seen.lock(), PATIENCE, missing);
        let (log, _) = log.expect("no handler panics");
        let found = found(&log);
        drop(log);
        found.unwrap_or_else(|| panic!("never: {what}"))
    }
}

async fn take(
    State(seen): State<Arc<Seen>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    if method != Method::POST {
        return StatusCode::OK;
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(id) = text("webhook-id").and_then(|id| id.parse().ok()) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut log = seen.lock();
    let accepted = !log.refuses_poison || text("outbox-type") != Some(POISON);
    log.arrivals.push(Arrival {
        relay: uri.path().trim_start_matches('/').to_owned(),
        id,
        key: text("outbox-key").map(ToOwned::to_owned),
        body,
        accepted,
    });
    seen.grown.notify_all();
    if accepted {
        StatusCode::OK
    } else {
        StatusCode::PAYLOAD_TOO_LARGE
    }
}
