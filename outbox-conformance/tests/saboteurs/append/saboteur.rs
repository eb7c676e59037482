//! A data layer over the store in memory, with one fault.

use super::{Fault, Fault as F};
use async_trait::async_trait;
use outbox_conformance::append::{Append, AppendFixture, End, OutsideFixture, Step};
use outbox_conformance::store::Store;
use outbox_core::{ErrorKind, Event, OutboxError};
use outbox_store_memory::MemoryStore;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

type Done = Result<(), OutboxError>;

/// Where a server would refuse a statement, its transaction refuses all until a rollback.
pub(super) struct Saboteur {
    fault: Fault,
    memory: MemoryStore,
    /// The events that hold their ids and tokens.
    committed: Mutex<Vec<Event>>,
    statements: AtomicU64,
    has_tables: AtomicBool,
}

struct Transaction<'s> {
    layer: &'s Saboteur,
    events: Vec<Event>,
    /// How many events there were before the last append.
    before_last: usize,
    savepoint: Option<usize>,
    is_refusing: bool,
}

impl Saboteur {
    pub(super) fn new(fault: Fault) -> Self {
        Self {
            fault,
            memory: MemoryStore::default(),
            committed: Mutex::default(),
            statements: AtomicU64::new(0),
            has_tables: AtomicBool::new(true),
        }
    }

    fn error(&self, kind: ErrorKind, text: &str) -> OutboxError {
        let error = OutboxError::new(kind, "saboteur", "append");
        match self.fault {
            F::LosesTheSource => error.explained(text),
            _ => error.with_source(text),
        }
    }

    fn missing_tables(&self) -> OutboxError {
        match self.fault {
            F::CallsMissingTablesUnavailable => {
                self.error(ErrorKind::Unavailable, "no tables: migrate")
            }
            F::SaysNothingOfMigrating => self.error(ErrorKind::Invalid, "no tables"),
            _ => self.error(ErrorKind::Invalid, "no tables: migrate"),
        }
    }

    fn commit(&self, events: &[Event]) {
        if self.memory.append(events).is_ok() {
            self.committed
                .lock()
                .expect("sound")
                .extend_from_slice(events);
        }
    }

    /// What reaches the table.
    fn altered(&self, events: &[Event]) -> Vec<Event> {
        let mut events = events.to_vec();
        match self.fault {
            F::ReversesABatch => events.reverse(),
            F::LosesTheLastOfABatch if events.len() > 1 => drop(events.pop()),
            F::AppendsAHundredAtMost => events.truncate(100),
            F::AppendsTheValidOnes => events.retain(|event| event.validate().is_ok()),
            F::GivesAllTheFirstHeaders => {
                let headers = events[0].headers.clone();
                for event in &mut events {
                    event.headers.clone_from(&headers);
                }
            }
            _ => events.iter_mut().for_each(|event| self.alter(event)),
        }
        events
    }

    fn alter(&self, event: &mut Event) {
        let is_text = |text: &String| !text.is_empty();
        match self.fault {
            F::LosesHeaders => event.headers.clear(),
            F::LosesTheContentType => event.content_type = "application/json".into(),
            F::ReadsPayloadsAsText => {
                let text = String::from_utf8_lossy(&event.payload).into_owned();
                event.payload = text.into();
            }
            F::TakesAnEmptyKeyForNone => {
                event.ordering_key = event.ordering_key.take().filter(is_text);
            }
            F::TakesAnEmptyTokenForNone => {
                event.idempotency_token = event.idempotency_token.take().filter(is_text);
            }
            F::CutsTimesToMilliseconds => {
                let since = event.created_at.duration_since(SystemTime::UNIX_EPOCH);
                let millis = since.expect("after 1970").as_secs_f64() * 1000.0;
                let cut = Duration::from_secs_f64(millis.floor() / 1000.0);
                event.created_at = SystemTime::UNIX_EPOCH + cut;
            }
            F::LosesWhenItIsDue => event.available_at = None,
            F::CountsTimesFrom2000 => {
                let start = SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_800);
                event.created_at = event.created_at.max(start);
            }
            F::CutsPayloadsAtAMegabyte => event.payload.truncate(1 << 20),
            _ => {}
        }
    }
}

impl Transaction<'_> {
    fn append(&mut self, events: &[Event]) -> Done {
        let fault = self.layer.fault;
        let validated: Done = events.iter().try_for_each(Event::validate);
        match fault {
            F::SendsInvalidEvents | F::AcceptsInvalidEvents | F::AppendsTheValidOnes => {}
            F::ChecksAfterItSends if validated.is_err() => {
                self.layer.statements.fetch_add(1, SeqCst);
                return validated;
            }
            _ => validated?,
        }
        match fault {
            F::SendsNoEvents => {}
            F::RefusesNoEvents if events.is_empty() => {
                return Err(self.layer.error(ErrorKind::Invalid, "no events"));
            }
            _ if events.is_empty() => return Ok(()),
            _ => {}
        }
        let done = self.send(events);
        self.is_refusing |= done.is_err();
        done
    }

    /// What the server does.
    fn send(&mut self, events: &[Event]) -> Done {
        let layer = self.layer;
        if self.is_refusing {
            return Err(layer.error(ErrorKind::Unavailable, "the transaction is aborted"));
        }
        let statements = match layer.fault {
            F::InsertsOneByOne => events.len(),
            _ => 1,
        };
        layer.statements.fetch_add(statements as u64, SeqCst);
        if !layer.has_tables.load(SeqCst) {
            return Err(layer.missing_tables());
        }
        if layer.fault == F::SendsInvalidEvents {
            events.iter().try_for_each(Event::validate)?;
        }
        self.check_taken(events)?;
        let events = layer.altered(events);
        if layer.fault == F::CommitsAtOnce {
            layer.commit(&events);
            return Ok(());
        }
        self.before_last = self.events.len();
        self.events.extend(events);
        Ok(())
    }

    fn check_taken(&self, events: &[Event]) -> Done {
        let layer = self.layer;
        let committed = layer.committed.lock().expect("sound");
        let is_taken = |number: usize, event: &Event| {
            let within = &events[..number];
            let alike = |other: &Event| {
                let token = event.idempotency_token.as_ref();
                let same_token = token.is_some() && other.idempotency_token.as_ref() == token;
                other.id == event.id && layer.fault != F::IgnoresTakenIds
                    || same_token && layer.fault != F::IgnoresTakenTokens
            };
            within.iter().any(alike) && layer.fault != F::MissesTwoAlikeInABatch
                || self.events.iter().any(alike) && layer.fault != F::MissesWhatTheTransactionHas
                || committed.iter().any(alike) && layer.fault != F::MissesWhatIsCommitted
        };
        if !events
            .iter()
            .enumerate()
            .any(|(number, event)| is_taken(number, event))
        {
            return Ok(());
        }
        let kind = match layer.fault {
            F::CallsADuplicateAConflict => ErrorKind::Conflict,
            _ => ErrorKind::Duplicate,
        };
        Err(layer.error(kind, "taken"))
    }

    fn roll_back_to_savepoint(&mut self) {
        let savepoint = self.savepoint.take().expect("a savepoint");
        match self.layer.fault {
            F::IgnoresSavepoints => {}
            F::RollsBackBeyondTheSavepoint => self.events.clear(),
            _ => self.events.truncate(savepoint),
        }
        self.is_refusing &= self.layer.fault == F::StaysRefusing;
    }

    fn end(mut self, end: End) {
        let layer = self.layer;
        if end == End::Commit && !self.is_refusing {
            if let (F::LosesWhatFollowsASavepoint, Some(count)) = (layer.fault, self.savepoint) {
                self.events.truncate(count);
            }
            return layer.commit(&self.events);
        }
        match layer.fault {
            F::RollsBackOnlyTheLastAppend => layer.commit(&self.events[..self.before_last]),
            F::KeepsIdsAfterARollback => {
                layer
                    .committed
                    .lock()
                    .expect("sound")
                    .append(&mut self.events);
            }
            _ => {}
        }
    }
}

#[async_trait]
impl Append for Saboteur {
    async fn transact(&self, steps: &[Step], end: End) -> Vec<Done> {
        let mut transaction = Transaction {
            layer: self,
            events: Vec::new(),
            before_last: 0,
            savepoint: None,
            is_refusing: false,
        };
        let mut results = Vec::new();
        for step in steps {
            match step {
                Step::Append(events) => results.push(transaction.append(events)),
                Step::Savepoint => transaction.savepoint = Some(transaction.events.len()),
                Step::RollBackToSavepoint => transaction.roll_back_to_savepoint(),
            }
        }
        transaction.end(end);
        results
    }
}

#[async_trait]
impl AppendFixture for Saboteur {
    async fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.memory.clone())
    }

    async fn statements(&self) -> u64 {
        self.statements.load(SeqCst)
    }

    async fn remove_tables(&self) {
        self.has_tables.store(false, SeqCst);
    }
}

#[async_trait]
impl OutsideFixture for Saboteur {
    async fn append_outside(&self, events: &[Event]) -> Done {
        let refusal = self.error(ErrorKind::Invalid, "no transaction");
        match self.fault {
            F::AppendsOutside => {
                self.commit(events);
                Ok(())
            }
            F::AppendsNothingOutside if events.is_empty() => Ok(()),
            F::RefusesOutsideAfterItSends => {
                self.statements.fetch_add(1, SeqCst);
                Err(refusal)
            }
            F::CallsOutsideUnavailable => Err(self.error(ErrorKind::Unavailable, "no transaction")),
            _ => Err(refusal),
        }
    }
}
