//! Endpoints from a table that changes, and destinations that are switched off.

mod support;

use async_trait::async_trait;
use outbox_core::{Event, OutboxError, PublishErrorKind as Kind, Transport};
use outbox_transport_http::{Endpoint, Endpoints, HttpConfig, HttpTransport, Secret, Switches};
use standardwebhooks::Webhook;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{LOOPBACK, Reply, Request, Server, event, open, publish_one};
use tokio::sync::Semaphore;

const SEVEN: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const EIGHT: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A table of the test, which may be broken, and how often it was read.
#[derive(Debug, Default)]
struct Table {
    rows: Mutex<Option<Vec<Endpoint>>>,
    read: AtomicUsize,
}

impl Table {
    fn of(rows: impl Into<Vec<Endpoint>>) -> Arc<Self> {
        let table = Self::default();
        *table.rows.lock().expect("no panic") = Some(rows.into());
        Arc::new(table)
    }

    fn set(&self, rows: Option<Vec<Endpoint>>) {
        *self.rows.lock().expect("no panic") = rows;
    }
}

#[async_trait]
impl Endpoints for Table {
    async fn endpoints(&self) -> Result<Vec<Endpoint>, OutboxError> {
        self.read.fetch_add(1, Ordering::SeqCst);
        let rows = self.rows.lock().expect("no panic").clone();
        rows.ok_or_else(|| OutboxError::invalid("test", "endpoints", "the table is broken"))
    }
}

/// Switches that the test sees. A read waits for `gate`, if there is one, and `fails` so often first.
#[derive(Debug, Default)]
struct Off {
    names: Mutex<BTreeSet<String>>,
    is_broken: bool,
    gate: Option<Arc<Semaphore>>,
    fails: AtomicUsize,
}

#[async_trait]
impl Switches for Off {
    async fn off(&self) -> Result<Vec<String>, OutboxError> {
        if let Some(gate) = &self.gate {
            let _permit = gate.acquire().await.expect("it stays open");
        }
        let left = |fails: usize| fails.checked_sub(1);
        let is_failing = self
            .fails
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left);
        if is_failing.is_ok() {
            return Err(OutboxError::invalid("test", "off", "permission denied"));
        }
        Ok(self
            .names
            .lock()
            .expect("no panic")
            .iter()
            .cloned()
            .collect())
    }

    async fn switch_off(&self, destination: &str, reason: &str) -> Result<(), OutboxError> {
        assert_eq!(reason, "the endpoint answered 410 Gone");
        if self.is_broken {
            return Err(OutboxError::invalid("test", "switch_off", "it is broken"));
        }
        self.names
            .lock()
            .expect("no panic")
            .insert(destination.to_owned());
        Ok(())
    }
}

fn config(table: &Arc<Table>) -> HttpConfig {
    let template = "{header:customer}".parse().expect("a template");
    HttpConfig::from_endpoints(Arc::clone(table) as Arc<dyn Endpoints>, template)
        .allow_networks([LOOPBACK.parse().expect("a network")])
        .refresh(Duration::ZERO)
}

fn of(customer: &str) -> Event {
    event("x").header("customer", customer)
}

async fn keeping() -> (Server, Arc<Mutex<Vec<Request>>>) {
    let kept = Arc::<Mutex<Vec<Request>>>::default();
    let keep = Arc::clone(&kept);
    let server = Server::start(move |request| {
        keep.lock().expect("no panic").push(request);
        Reply::status("200 OK")
    });
    (server.await, kept)
}

async fn refused(transport: &HttpTransport, event: Event) -> String {
    let (kind, text) = publish_one(transport, event).await.expect_err("refused");
    assert_eq!(kind, Kind::Misconfigured, "{text}");
    text
}

#[tokio::test]
async fn each_event_goes_to_its_endpoint_with_its_secrets() {
    let (server, kept) = keeping().await;
    let table = Table::of([
        Endpoint::new("7", server.url("/same"), SEVEN),
        Endpoint::new("8", server.url("/same"), format!("{EIGHT}\n{SEVEN} ")),
        Endpoint::new("9", server.url("/{type}?a={b}"), ""),
    ]);
    let transport = open(config(&table));
    let events = [of("7"), of("8"), of("9")];
    for answer in transport.publish(&events).await {
        answer.unwrap();
    }
    let kept = kept.lock().unwrap();
    assert_eq!(kept.len(), 3);
    for request in &*kept {
        let accepts = |secret: &str| {
            let webhook = Webhook::new(secret).unwrap();
            webhook.verify(&request.body, &request.headers).is_ok()
        };
        let id = request.headers["webhook-id"].to_str().unwrap();
        let customer = events
            .iter()
            .position(|event| event.id.to_string() == id)
            .unwrap();
        let expected = [(true, false), (true, true), (false, false)][customer];
        assert_eq!((accepts(SEVEN), accepts(EIGHT)), expected);
        // A URL of the table has no placeholders.
        let path = if customer == 2 {
            "/%7Btype%7D?a={b}"
        } else {
            "/same"
        };
        assert_eq!(request.path, path);
    }
    assert_eq!(transport.destination(&of("7")).unwrap(), "7");
}

#[tokio::test]
async fn a_row_that_cannot_be_used_costs_only_its_own_events() {
    let (server, kept) = keeping().await;
    let url = server.url("/hunter2");
    let table = Table::of([
        Endpoint::new("good", &url, ""),
        Endpoint::new("no url", "hunter2", ""),
        Endpoint::new("metadata", "http://169.254.169.254/hunter2", ""),
        Endpoint::new("no secret", &url, "hunter2"),
        Endpoint::new("host", "http://{header:x}.example/", ""),
        Endpoint::new("twice", &url, ""),
        Endpoint::new("twice", &url, ""),
    ]);
    let transport = open(config(&table));
    for (customer, problem) in [
        ("no url", "URL has no scheme http or https"),
        ("metadata", "address is 169.254.169.254 (link-local)"),
        ("no secret", "secret does not start with whsec_"),
        ("host", "placeholder in its host"),
        ("twice", "in the table of endpoints twice"),
        ("missing", "endpoint \"missing\" is not in the table"),
    ] {
        let text = refused(&transport, of(customer)).await;
        assert!(
            text.starts_with(&format!("destination {customer}: ")),
            "{text}"
        );
        assert!(
            text.contains(problem) && !text.contains("hunter2"),
            "{text}"
        );
    }
    refused(&transport, event("x")).await;
    publish_one(&transport, of("good")).await.unwrap();
    assert_eq!(kept.lock().unwrap().len(), 1);
    let check = transport.check().await;
    assert!(check.problems.is_empty(), "{check:?}");
    assert_eq!(check.notes[0], "endpoints that can be used: 1");
    assert_eq!(check.warnings.len(), 5);
    assert!(!format!("{check:?}{transport:?}{table:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_table_that_changes_is_read_again_and_a_broken_one_changes_nothing() {
    let (server, _kept) = keeping().await;
    let table = Table::of([]);
    let transport = open(config(&table));
    refused(&transport, of("7")).await;
    table.set(Some(vec![Endpoint::new("7", server.url("/"), "")]));
    publish_one(&transport, of("7")).await.unwrap();
    table.set(None);
    publish_one(&transport, of("7")).await.unwrap();
    table.set(Some(Vec::new()));
    refused(&transport, of("7")).await;
}

#[tokio::test]
async fn a_table_is_read_once_in_its_interval() {
    let (server, _kept) = keeping().await;
    let table = Table::of([Endpoint::new("7", server.url("/"), "")]);
    let transport = open(config(&table).refresh(Duration::from_secs(3600)));
    let events = [of("7")];
    let calls = [(); 20].map(|()| transport.publish(&events));
    futures_util::future::join_all(calls).await;
    assert_eq!(table.read.load(Ordering::SeqCst), 1);
}

/// The error is about all endpoints, and no event is blamed.
#[tokio::test]
async fn a_table_that_was_never_read_is_unavailable_and_recovers() {
    let (server, _kept) = keeping().await;
    let table = Table::of([]);
    table.set(None);
    let transport = open(config(&table).refresh(Duration::from_secs(3600)));
    let answers = transport.publish(&[of("7")]).await;
    let error = answers[0].as_ref().unwrap_err();
    assert_eq!(
        (error.kind(), error.destination()),
        (Kind::Unavailable, None)
    );
    assert!(support::text(error).contains("the table is broken"));
    assert_eq!(transport.check().await.problems.len(), 1);
    table.set(Some(vec![Endpoint::new("7", server.url("/"), "")]));
    publish_one(&transport, of("7")).await.unwrap();
}

#[test]
fn secrets_for_all_endpoints_are_refused() {
    let secret: Secret = SEVEN.parse().unwrap();
    let error = HttpTransport::open(config(&Table::of([])).secret(secret)).unwrap_err();
    assert!(
        error.to_string().contains("each must have its own"),
        "{error}"
    );
}

/// A server whose endpoint is gone, and how often it was asked.
async fn gone() -> (Server, Arc<AtomicUsize>) {
    let asked = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&asked);
    let server = Server::start(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Reply::status("410 Gone")
    });
    (server.await, asked)
}

#[tokio::test]
async fn an_endpoint_that_is_gone_gets_nothing_until_a_person_switches_it_on() {
    let (server, asked) = gone().await;
    let off = Arc::<Off>::default();
    let open_one = || {
        let config = support::config(&server.url("/x")).refresh(Duration::ZERO);
        open(config.switches(Arc::clone(&off) as Arc<dyn Switches>))
    };
    let transport = open_one();
    let text = refused(&transport, event("x")).await;
    assert!(text.contains("the endpoint answered 410 Gone"), "{text}");
    let name = server.url("/x");
    assert_eq!(
        off.names.lock().unwrap().iter().collect::<Vec<_>>(),
        [&name]
    );
    // Another relay, or one that was started again, knows it too.
    for transport in [&transport, &open_one()] {
        let text = refused(transport, event("x")).await;
        assert!(text.contains("a person must switch it on"), "{text}");
        let check = transport.check().await;
        let warning = format!("destination {name} is switched off");
        assert!(check.warnings.contains(&warning), "{check:?}");
    }
    // The check asks it, too.
    assert_eq!(asked.swap(0, Ordering::SeqCst), 3);
    off.names.lock().unwrap().clear();
    refused(&transport, event("x")).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(off.names.lock().unwrap().len(), 1);
}

/// A destination that is off gets nothing, also from calls that run while the switches are read for the
/// first time.
#[tokio::test]
async fn calls_at_the_start_wait_for_the_switches() {
    let (server, asked) = gone().await;
    let gate = Arc::new(Semaphore::new(0));
    let off = Arc::new(Off {
        names: Mutex::new([server.url("/x")].into()),
        gate: Some(Arc::clone(&gate)),
        ..Off::default()
    });
    let transport = open(support::config(&server.url("/x")).switches(off));
    let events = [event("x")];
    // `join!` polls its futures in this order, so both calls have begun when the switches are read.
    let (first, second, ()) = tokio::join!(
        transport.publish(&events),
        transport.publish(&events),
        async { gate.add_permits(1) },
    );
    for answers in [first, second] {
        let text = support::text(answers[0].as_ref().unwrap_err());
        assert!(text.contains("a person must switch it on"), "{text}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn switches_that_were_never_read_are_unavailable_and_recover() {
    let (server, kept) = keeping().await;
    let off = Arc::new(Off {
        fails: AtomicUsize::new(2),
        ..Off::default()
    });
    let config = support::config(&server.url("/x")).refresh(Duration::from_secs(3600));
    let transport = open(config.switches(off));
    for _again in 0..2 {
        let answers = transport.publish(&[event("x")]).await;
        let error = answers[0].as_ref().unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(support::text(error).contains("permission denied"));
    }
    let event = event("x");
    let id = event.id.to_string();
    publish_one(&transport, event).await.unwrap();
    let kept = kept.lock().unwrap();
    let ids: Vec<_> = kept
        .iter()
        .map(|request| (&*request.method, request.headers.get("webhook-id")))
        .collect();
    assert!(ids == [("POST", Some(&id.parse().unwrap()))], "{ids:?}");
}

#[tokio::test]
async fn without_a_place_to_keep_it_an_endpoint_is_off_until_the_program_ends() {
    for is_broken in [false, true] {
        let (server, asked) = gone().await;
        let mut config = support::config(&server.url("/x")).refresh(Duration::ZERO);
        if is_broken {
            config = config.switches(Arc::new(Off {
                is_broken,
                ..Off::default()
            }));
        }
        let transport = open(config);
        for _again in 0..3 {
            refused(&transport, event("x")).await;
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}
