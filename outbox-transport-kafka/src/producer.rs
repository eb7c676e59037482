//! The producers of librdkafka: one that all calls share, replaced by a new one when it fails.

use crate::config::KafkaConfig;
use crate::error::{Meaning, meaning};
use crate::record::Record;
use crate::reports::Ticket;
use outbox_core::{PublishError, PublishErrorKind};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::metadata::Metadata;
use rdkafka::producer::{
    BaseRecord, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};
use rdkafka::{ClientConfig, ClientContext};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// How long a thread waits before it purges again what is on its way between two queues of librdkafka.
const AGAIN: Duration = Duration::from_millis(5);

/// A client of librdkafka, with its connections and its sequence numbers.
pub(crate) struct Producer {
    /// None once it is dropped.
    handle: Option<Arc<ThreadedProducer<Watch>>>,
    /// Whether it takes no more messages. Locked for reading while it takes one.
    is_retired: RwLock<bool>,
    is_of_single_messages: bool,
}

/// What librdkafka says of a producer.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    state: Mutex<State>,
    /// Notified by each report.
    reported: Notify,
    /// Notified by each error that is about no message.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The last error that was about no message. None since a message was delivered.
    error: Option<(Code, String)>,
    /// Whether all brokers were away, since a message was delivered.
    is_down: bool,
    is_fatal: bool,
}

impl Producer {
    pub(crate) fn shared(config: &KafkaConfig) -> Result<Self, PublishError> {
        Self::open(&config.client(), false)
    }

    /// One whose batches have one message each.
    pub(crate) fn of_single_messages(config: &KafkaConfig) -> Result<Self, PublishError> {
        Self::open(&config.client_of_single_messages(), true)
    }

    fn open(config: &ClientConfig, is_of_single_messages: bool) -> Result<Self, PublishError> {
        let handle = config.create_with_context(Watch::default());
        let handle = handle.map_err(|error| {
            PublishError::new(PublishErrorKind::Misconfigured).with_source(error)
        })?;
        Ok(Self {
            handle: Some(Arc::new(handle)),
            is_retired: RwLock::new(false),
            is_of_single_messages,
        })
    }

    pub(crate) fn is_of_single_messages(&self) -> bool {
        self.is_of_single_messages
    }

    /// Queues a record. Its ticket gets the report, unless this is an error.
    pub(crate) fn send(&self, record: &Record<'_>, ticket: Ticket) -> Result<(), Code> {
        let is_retired = self
            .is_retired
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(handle) = self.handle.as_ref().filter(|_| !*is_retired) else {
            return Err(Code::PurgeQueue);
        };
        let mut message = BaseRecord::with_opaque_to(&record.topic, Box::new(ticket))
            .payload(record.payload())
            .headers(record.headers());
        if let Some(key) = record.key {
            message = message.key(key);
        }
        handle.send(message).map_err(|(error, _)| code(&error))
    }

    /// Ends it in a thread: messages that are not sent are purged, and sent ones get no report any more.
    pub(crate) fn retire(&self) {
        let mut is_retired = self
            .is_retired
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *is_retired, true) {
            return;
        }
        drop(is_retired);
        let Some(handle) = self.handle.clone() else {
            return;
        };
        thread::spawn(move || {
            // A message on its way from one broker to another is in no queue, so once is not enough.
            while handle.in_flight_count() > 0 {
                handle.purge(PurgeConfig::default().queue().inflight());
                thread::sleep(AGAIN);
            }
        });
    }

    /// Why it takes no more messages, if librdkafka has ended it.
    pub(crate) fn fatal(&self) -> Option<(Code, String)> {
        self.handle.as_ref()?.client().fatal_error()
    }

    pub(crate) fn watch(&self) -> Option<&Watch> {
        self.handle
            .as_ref()
            .map(|handle| &**handle.client().context())
    }

    /// Whether it takes messages, as far as is known.
    pub(crate) fn is_usable(&self) -> bool {
        let is_retired = self
            .is_retired
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        !*is_retired && self.fatal().is_none()
    }

    /// Asks the cluster for a topic, or for its brokers. A thread waits for the connection, and ends by
    /// itself at the limit if the future is dropped.
    pub(crate) async fn metadata<T: Send + 'static>(
        &self,
        topic: Option<&str>,
        limit: Duration,
        read: impl FnOnce(&Metadata) -> T + Send + 'static,
    ) -> Result<T, Code> {
        let handle = self.handle.clone().ok_or(Code::Fail)?;
        let topic = topic.map(str::to_owned);
        let (done, found) = oneshot::channel();
        thread::spawn(move || {
            let metadata = handle.client().fetch_metadata(topic.as_deref(), limit);
            let _ = done.send(metadata.map(|metadata| read(&metadata)));
        });
        let found = found.await.map_err(|_| Code::Fail)?;
        found.map_err(|error| code(&error))
    }
}

impl Drop for Producer {
    /// Closing waits for threads of librdkafka, so it is done in a thread.
    fn drop(&mut self) {
        let handle = self.handle.take();
        thread::spawn(move || drop(handle));
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("is_retired", &self.is_retired)
            .field("is_of_single_messages", &self.is_of_single_messages)
            .field("watch", &self.watch())
            .finish_non_exhaustive()
    }
}

impl Watch {
    pub(crate) fn reported(&self) -> &Notify {
        &self.reported
    }

    /// Returns when the login or the certificate is refused.
    pub(crate) async fn refused(&self) -> PublishError {
        loop {
            let changed = self.changed.notified();
            if let Some(error) = self.state().refusal() {
                return error;
            }
            changed.await;
        }
    }

    /// Returns when librdkafka has ended the producer.
    pub(crate) async fn ended(&self) {
        loop {
            let changed = self.changed.notified();
            if self.state().is_fatal {
                return;
            }
            changed.await;
        }
    }

    /// Why no event can be published, as far as librdkafka has said it.
    pub(crate) fn trouble(&self) -> Option<PublishError> {
        let state = self.state();
        let words = state.error.as_ref().map(|(_, words)| words.clone());
        let down = || {
            let error = PublishError::new(PublishErrorKind::Unavailable);
            error.with_source(words.unwrap_or_else(|| "all brokers are down".to_owned()))
        };
        state.refusal().or_else(|| state.is_down.then(down))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn refusal(&self) -> Option<PublishError> {
        let (code, words) = self.error.as_ref()?;
        let is_refused = match code {
            // Also a connection that breaks is an error of this kind.
            Code::SSL => words.contains("verif") || words.contains("PLAINTEXT"),
            code => meaning(*code) == Meaning::Cluster,
        };
        let error = PublishError::new(PublishErrorKind::Misconfigured);
        is_refused.then(|| error.with_source(words.clone()))
    }
}

impl ClientContext for Watch {
    /// Without the warning about a property that each producer has.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility != "CONFWARN" || !message.contains("enable.gapless.guarantee") {
            DefaultClientContext.log(level, facility, message);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut state = self.state();
        match code(&error) {
            // The reasons come first, broker by broker.
            Code::AllBrokersDown => state.is_down = true,
            Code::Fatal => state.is_fatal = true,
            code => state.error = Some((code, reason.to_owned())),
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

impl ProducerContext for Watch {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        match result {
            Ok(_) => {
                let mut state = self.state();
                (state.error, state.is_down) = (None, false);
                drop(state);
                ticket.report(Ok(()));
            }
            Err((error, _)) => ticket.report(Err(code(error))),
        }
        self.reported.notify_waiters();
    }
}

/// Why a topic takes nothing.
pub(crate) fn topic_error(metadata: &Metadata, name: &str) -> Option<Code> {
    let topic = metadata.topics().iter().find(|topic| topic.name() == name);
    topic.map_or(Some(Code::UnknownTopic), |topic| {
        topic.error().map(Code::from)
    })
}

fn code(error: &KafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::Fail)
}

/// The producer that calls share.
#[derive(Debug, Default)]
pub(crate) struct Current(Mutex<Option<Arc<Producer>>>);

impl Current {
    /// The producer, or a new one.
    pub(crate) fn get(&self, config: &KafkaConfig) -> Result<Arc<Producer>, PublishError> {
        let mut current = self.lock();
        if let Some(producer) = &*current {
            return Ok(Arc::clone(producer));
        }
        let producer = Arc::new(Producer::shared(config)?);
        *current = Some(Arc::clone(&producer));
        Ok(producer)
    }

    /// Ends a producer. The next call gets another one.
    pub(crate) fn retire(&self, producer: &Arc<Producer>) {
        let mut current = self.lock();
        if current
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(held, producer))
        {
            *current = None;
        }
        drop(current);
        producer.retire();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Producer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
