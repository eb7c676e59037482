//! Appends events, all or none.

use crate::state::{State, failed};
use outbox_core::{ErrorKind, Event, OutboxError};
use std::collections::HashSet;

impl State {
    pub(crate) fn append(&mut self, events: Vec<Event>) -> Result<(), OutboxError> {
        let mut ids = HashSet::new();
        let mut tokens = HashSet::new();
        for event in &events {
            if self.ids.contains_key(&event.id) || !ids.insert(event.id) {
                let source = format!("event id {} is already in the outbox", event.id);
                return Err(failed(ErrorKind::Duplicate, "append").with_source(source));
            }
            let Some(token) = &event.idempotency_token else {
                continue;
            };
            if self.tokens.contains_key(token) || !tokens.insert(token) {
                let source = format!("idempotency token {token:?} was used before");
                return Err(failed(ErrorKind::Duplicate, "append").with_source(source));
            }
        }
        for event in events {
            if let Some(token) = &event.idempotency_token {
                self.tokens.insert(token.clone(), event.id);
            }
            self.push(event, 0);
        }
        Ok(())
    }
}
