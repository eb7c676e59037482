//! One call of `publish`: sends a request for each event or batch, and collects the answers.

use crate::batch::Batch;
use crate::config::Destinations;
use crate::limits::Permit;
use crate::outgoing::{Delivery, Message, Place};
use crate::{Inner, answer};
use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use outbox_core::{Event, PublishError, PublishErrorKind};
use reqwest::{Method, Request, Response, StatusCode};
use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout, timeout_at};

/// How many bytes of a response's body are read, and for how long, so that its connection can be used again.
const BODY: usize = 16 << 10;
const BODY_TIME: Duration = Duration::from_secs(1);

/// How long events wait for which there was no request in the time of a call.
const BUSY: Duration = Duration::from_secs(1);

type Answer = Result<(), PublishError>;

pub(crate) struct Call<'c> {
    inner: &'c Inner,
    events: &'c [Event],
    answers: Vec<Option<Answer>>,
    /// Until when requests are started, so that each has at least half of the time.
    last_start: Instant,
    deadline: Instant,
}

/// What the requests of a call have found out about their endpoint.
#[derive(Default)]
struct Findings {
    /// Why it takes no events, so that no more are sent.
    problem: Mutex<Option<PublishError>>,
    has_taken: AtomicBool,
}

impl<'c> Call<'c> {
    pub(crate) fn new(inner: &'c Inner, events: &'c [Event]) -> Self {
        let now = Instant::now();
        let limit = inner.config.call_timeout;
        Self {
            inner,
            events,
            answers: vec![None; events.len()],
            last_start: now + limit / 2,
            deadline: now + limit,
        }
    }

    /// One answer for each event.
    pub(crate) async fn run(mut self) -> Vec<Answer> {
        if let Err(error) = self.inner.directory.look(self.last_start).await {
            return error.for_all(self.events.len());
        }
        let deliveries = self.deliveries();
        let mut findings: HashMap<Arc<str>, Arc<Findings>> = HashMap::new();
        let attempts = deliveries.into_iter().map(|delivery| {
            let findings = findings.entry(Arc::clone(&delivery.place.name));
            let attempt = Attempt {
                inner: self.inner,
                findings: Arc::clone(findings.or_default()),
                last_start: self.last_start,
                deadline: self.deadline,
            };
            attempt.deliver(delivery)
        });
        let mut attempts: FuturesUnordered<_> = attempts.collect();
        while let Some(answered) = attempts.next().await {
            for (number, answer) in answered {
                self.answers[number] = Some(answer);
            }
        }
        let unanswered = || Err(PublishError::new(PublishErrorKind::Unavailable));
        let answers = self.answers.into_iter();
        answers
            .map(|answer| answer.unwrap_or_else(unanswered))
            .collect()
    }

    /// The requests of the events that can be sent.
    fn deliveries(&mut self) -> Vec<Delivery> {
        let mut places: HashMap<_, (Arc<Place>, Vec<Message>)> = HashMap::new();
        for (number, event) in self.events.iter().enumerate() {
            let prepared = self.place(event).and_then(|place| {
                let message = Message::new(self.inner, number, event);
                let message =
                    message.map_err(|error| error.with_destination(Arc::clone(&place.name)));
                Ok((place, message?))
            });
            match prepared {
                Ok((place, message)) => {
                    let name = (Arc::clone(&place.name), place.url.as_str().to_owned());
                    let found = places.entry(name);
                    let (_, messages) = found.or_insert_with(|| (Arc::new(place), Vec::new()));
                    messages.push(message);
                }
                Err(error) => self.answers[number] = Some(Err(error)),
            }
        }
        let batch = self.inner.config.batch;
        let places = places.into_values();
        places
            .flat_map(|(place, messages)| Delivery::of(&place, messages, batch))
            .collect()
    }

    fn place(&self, event: &Event) -> Result<Place, PublishError> {
        let name: Arc<str> = self.inner.destination(event).into();
        let directory = &self.inner.directory;
        let checked = directory.check_on(&name);
        checked.map_err(|error| error.with_destination(Arc::clone(&name)))?;
        match &self.inner.config.destinations {
            Destinations::Url(target) => {
                let secrets = &self.inner.config.secrets;
                Place::new(target, secrets, name, event)
            }
            Destinations::Table(_, id) => {
                let found = directory.endpoint(&id.fill(event)?);
                let found = found.map_err(|problem| {
                    let error = error(PublishErrorKind::Misconfigured, problem);
                    error.with_destination(Arc::clone(&name))
                })?;
                Place::new(&found.target, &found.secrets, name, event)
            }
        }
    }
}

/// One request, and those of its halves if it is refused.
struct Attempt<'c> {
    inner: &'c Inner,
    findings: Arc<Findings>,
    last_start: Instant,
    deadline: Instant,
}

impl Attempt<'_> {
    async fn deliver(self, delivery: Delivery) -> Vec<(usize, Answer)> {
        let name = Arc::clone(&delivery.place.name);
        let mut answers = Vec::with_capacity(delivery.messages.len());
        let mut parts = vec![delivery.messages.as_slice()];
        while let Some(part) = parts.pop() {
            let answer = self.attempt(&delivery, part).await;
            if let Err(error) = &answer
                && is_about_events(error.kind())
                && part.len() > 1
            {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
                continue;
            }
            let answer = answer.map_err(|error| error.with_destination(Arc::clone(&name)));
            self.note(&answer);
            let numbers = part.iter().map(|message| message.number);
            answers.extend(numbers.map(|number| (number, answer.clone())));
        }
        answers
    }

    /// Waits for a permit and sends a request, unless the endpoint has a problem by then.
    async fn attempt(&self, delivery: &Delivery, messages: &[Message]) -> Answer {
        let permit = self.inner.limits.acquire(&delivery.place.name);
        let permit = timeout_at(self.last_start, permit).await.ok().flatten();
        if let Some(problem) = self.problem() {
            return Err(problem);
        }
        let Some(permit) = permit else {
            return Err(self.not_started());
        };
        self.send(delivery, messages, permit).await
    }

    async fn send(&self, delivery: &Delivery, messages: &[Message], permit: Permit) -> Answer {
        let config = &self.inner.config;
        let now = SystemTime::now();
        let (headers, body) = delivery.request(messages, config.batch, now);
        let mut request = Request::new(Method::POST, delivery.place.url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body.into());
        let sent = timeout_at(self.deadline, self.execute(request)).await;
        let Ok(sent) = sent else {
            let limit = config.call_timeout;
            let problem = format!("no answer within the call timeout of {limit:?}");
            return Err(error(PublishErrorKind::Unavailable, problem));
        };
        // The text of the error has the URL.
        let response = sent.map_err(|cause| error(answer::failure(&cause), cause.without_url()))?;
        let status = response.status();
        let kind = answer::kind(status, response.headers(), now);
        discard(response, permit);
        match kind {
            None => Ok(()),
            Some(kind) => {
                if status == StatusCode::GONE {
                    self.switch_off(&delivery.place.name, status).await;
                }
                let kind = in_batch(kind, status, config.batch);
                Err(error(kind, format!("the endpoint answered {status}")))
            }
        }
    }

    /// An endpoint may close a connection just when it is used again. Then the request is sent again, on
    /// another one.
    async fn execute(&self, request: Request) -> reqwest::Result<Response> {
        let client = &self.inner.client;
        let again = request.try_clone();
        match (client.execute(request).await, again) {
            (Err(error), Some(again)) if error.is_request() && !error.is_connect() => {
                client.execute(again).await
            }
            (sent, _) => sent,
        }
    }

    async fn switch_off(&self, destination: &str, status: StatusCode) {
        let reason = format!("the endpoint answered {status}");
        let directory = &self.inner.directory;
        directory
            .switch_off(destination, &reason, self.deadline)
            .await;
    }

    fn note(&self, answer: &Answer) {
        match answer {
            Ok(()) => self.findings.has_taken.store(true, Ordering::Relaxed),
            Err(error) if !is_about_events(error.kind()) => {
                let problem = self.findings.problem.lock();
                let mut problem = problem.unwrap_or_else(PoisonError::into_inner);
                problem.get_or_insert_with(|| error.clone());
            }
            Err(_) => {}
        }
    }

    fn problem(&self) -> Option<PublishError> {
        let problem = self.findings.problem.lock();
        problem.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For events that are not sent, because others took the time.
    fn not_started(&self) -> PublishError {
        let pause = if self.findings.has_taken.load(Ordering::Relaxed) {
            Duration::ZERO
        } else {
            BUSY
        };
        let problem = "requests that began earlier took the first half of the call timeout";
        error(PublishErrorKind::Throttled(pause), problem)
    }
}

/// Whether an error is about some of the events of a request, and not about the endpoint.
fn is_about_events(kind: PublishErrorKind) -> bool {
    matches!(
        kind,
        PublishErrorKind::Rejected | PublishErrorKind::Permanent
    )
}

/// The media type of a batch is not that of its events.
fn in_batch(kind: PublishErrorKind, status: StatusCode, batch: Option<Batch>) -> PublishErrorKind {
    match status {
        StatusCode::UNSUPPORTED_MEDIA_TYPE if batch.is_some() => PublishErrorKind::Misconfigured,
        _ => kind,
    }
}

/// Reads the rest of a short response, so that the connection can be used again. What does not come
/// soon is read later, and a connection whose body is long or slow is closed.
fn discard(mut response: Response, permit: Permit) {
    let mut left = BODY;
    let mut read = async move {
        while let Ok(Some(bytes)) = response.chunk().await {
            match left.checked_sub(bytes.len()) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }
    .boxed();
    if (&mut read).now_or_never().is_none() {
        let Permit { endpoint, .. } = permit;
        tokio::spawn(async move {
            let _late = timeout(BODY_TIME, read).await;
            drop(endpoint);
        });
    }
}

fn error(kind: PublishErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> PublishError {
    PublishError::new(kind).with_source(source)
}
