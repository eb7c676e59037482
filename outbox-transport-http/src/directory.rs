//! The endpoints and the switches as they were read last.

use crate::config::{Destinations, HttpConfig};
use crate::endpoints::{Endpoint, Endpoints, Switches};
use crate::secret::Secret;
use crate::target::Target;
use ipnet::IpNet;
use outbox_core::{OutboxError, PublishError, PublishErrorKind};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

const OFF: &str = "it is switched off, because it answered 410 Gone: a person must switch it on";

/// An endpoint that can be used.
#[derive(Debug)]
pub(crate) struct Usable {
    pub(crate) target: Target,
    pub(crate) secrets: Arc<[Secret]>,
}

/// By id. An error says why an endpoint cannot be used.
type Table = HashMap<String, Result<Arc<Usable>, String>>;

pub(crate) struct Directory {
    endpoints: Option<Arc<dyn Endpoints>>,
    switches: Option<Arc<dyn Switches>>,
    networks: Arc<[IpNet]>,
    refresh: Duration,
    state: Mutex<State>,
    /// One call reads for all.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    table: Option<Arc<Table>>,
    off: Option<HashSet<String>>,
    /// Switched off here, and not kept anywhere else.
    unsaved: HashSet<String>,
    read_at: Option<Instant>,
    is_failing: bool,
}

impl Directory {
    pub(crate) fn new(config: &HttpConfig) -> Self {
        let endpoints = match &config.destinations {
            Destinations::Url(_) => None,
            Destinations::Table(endpoints, _) => Some(Arc::clone(endpoints)),
        };
        Self {
            endpoints,
            switches: config.switches.clone(),
            networks: Arc::clone(&config.networks),
            refresh: config.refresh,
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads again what is old. Calls at the same time wait only if nothing was read before.
    pub(crate) async fn look(&self, deadline: Instant) -> Result<(), PublishError> {
        if self.is_fresh() {
            return Ok(());
        }
        let is_known = self.is_known();
        let turn = if is_known {
            self.turn.try_lock().ok()
        } else {
            timeout_at(deadline, self.turn.lock()).await.ok()
        };
        if turn.is_none() || self.is_fresh() {
            return self.known(None);
        }
        match timeout_at(deadline, self.read()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.failed(&error.to_string());
                self.known(Some(error))
            }
            Err(_) => {
                self.failed("no answer within the call timeout");
                self.known(None)
            }
        }
    }

    fn is_fresh(&self) -> bool {
        let is_used = self.endpoints.is_some() || self.switches.is_some();
        let read_at = self.state().read_at;
        !is_used || (self.is_known() && read_at.is_some_and(|at| at.elapsed() < self.refresh))
    }

    /// Whether everything was read at least once.
    fn is_known(&self) -> bool {
        let state = self.state();
        (self.endpoints.is_none() || state.table.is_some())
            && (self.switches.is_none() || state.off.is_some())
    }

    /// Before the first read no event can be sent: its endpoint is unknown, or it may be off.
    fn known(&self, error: Option<OutboxError>) -> Result<(), PublishError> {
        if self.is_known() {
            return Ok(());
        }
        let unavailable = PublishError::new(PublishErrorKind::Unavailable);
        Err(match error {
            Some(error) => unavailable.with_source(error),
            None => {
                unavailable.with_source("the endpoints or their switches were not read in time")
            }
        })
    }

    async fn read(&self) -> Result<(), OutboxError> {
        if let Some(switches) = &self.switches {
            let off = switches.off().await?;
            self.state().off = Some(off.into_iter().collect());
        }
        if let Some(endpoints) = &self.endpoints {
            let endpoints = endpoints.endpoints().await?;
            let table = table(endpoints, &self.networks);
            self.state().table = Some(Arc::new(table));
        }
        let mut state = self.state();
        state.read_at = Some(Instant::now());
        if std::mem::take(&mut state.is_failing) {
            tracing::info!("the endpoints or their switches can be read again");
        }
        Ok(())
    }

    fn failed(&self, error: &str) {
        let mut state = self.state();
        state.read_at = Some(Instant::now());
        if !std::mem::replace(&mut state.is_failing, true) {
            let effect = "endpoints and switches stay as they were";
            tracing::warn!(
                error,
                "the endpoints or their switches cannot be read: {effect}"
            );
        }
    }

    /// The endpoint with this id, as it was read last.
    pub(crate) fn endpoint(&self, id: &str) -> Result<Arc<Usable>, String> {
        let table = self.state().table.clone();
        match table.as_deref().and_then(|table| table.get(id)) {
            Some(place) => place.clone(),
            None => Err(format!("endpoint {id:?} is not in the table of endpoints")),
        }
    }

    /// How many endpoints can be used, and why the others cannot.
    pub(crate) fn summary(&self) -> (usize, Vec<(String, String)>) {
        let table = self.state().table.clone().unwrap_or_default();
        let wrong = table.iter().filter_map(|(id, place)| {
            let problem = place.as_ref().err()?;
            Some((id.clone(), problem.clone()))
        });
        let mut wrong: Vec<_> = wrong.collect();
        wrong.sort_unstable();
        (table.len() - wrong.len(), wrong)
    }

    /// The destinations that get nothing.
    pub(crate) fn off(&self) -> Vec<String> {
        let state = self.state();
        let kept = state.off.iter().flatten();
        let off: BTreeSet<&String> = kept.chain(&state.unsaved).collect();
        off.into_iter().cloned().collect()
    }

    /// Fails if the destination is off.
    pub(crate) fn check_on(&self, destination: &str) -> Result<(), PublishError> {
        let state = self.state();
        let kept = state.off.as_ref();
        let is_kept = kept.is_some_and(|off| off.contains(destination));
        if is_kept || state.unsaved.contains(destination) {
            return Err(PublishError::new(PublishErrorKind::Misconfigured).with_source(OFF));
        }
        Ok(())
    }

    /// Switches a destination off here and in what keeps it.
    pub(crate) async fn switch_off(&self, destination: &str, reason: &str, deadline: Instant) {
        self.state().unsaved.insert(destination.to_owned());
        let Some(switches) = &self.switches else {
            return;
        };
        let saved = timeout_at(deadline, switches.switch_off(destination, reason)).await;
        let problem = match saved {
            Ok(Ok(())) => {
                let mut state = self.state();
                state.unsaved.remove(destination);
                state
                    .off
                    .get_or_insert_default()
                    .insert(destination.to_owned());
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer within the call timeout".to_owned(),
        };
        let effect = "it is off until this program ends";
        tracing::warn!(
            destination,
            error = problem,
            "cannot keep that a destination is off: {effect}"
        );
    }
}

fn table(endpoints: Vec<Endpoint>, networks: &[IpNet]) -> Table {
    let mut table = Table::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let place = place(&endpoint, networks);
        let twice = || Err("endpoint is in the table of endpoints twice".to_owned());
        table
            .entry(endpoint.id)
            .and_modify(|place| *place = twice())
            .or_insert(place);
    }
    table
}

fn place(endpoint: &Endpoint, networks: &[IpNet]) -> Result<Arc<Usable>, String> {
    let text = |error: OutboxError| error.to_string();
    // A URL of a table has no placeholders.
    let url = endpoint.url.replace('{', "{{").replace('}', "}}");
    let target = Target::parse(&url).map_err(text)?;
    target.check(networks)?;
    let secrets = endpoint.secrets.split_whitespace().map(str::parse);
    let secrets: Result<_, OutboxError> = secrets.collect();
    let secrets = secrets.map_err(text)?;
    Ok(Arc::new(Usable { target, secrets }))
}
