//! An event as an entry of a stream.

use crate::config::{Trim, Wait};
use outbox_core::wire::{Binding, Message, WireForm};
use outbox_core::{Event, PublishError};
use outbox_driver_redis::redis::{Cmd, Pipeline, cmd};
use std::time::SystemTime;

/// The field of the body.
pub(crate) const BODY: &str = "data";

/// A header with the name of that field. Readers remove the prefix.
const MOVED_BODY: &str = "outbox-header-data";

/// How an entry is added to a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adding {
    pub(crate) is_created: bool,
    pub(crate) trim: Option<Trim>,
}

/// The command that adds an event, and its sizes.
pub(crate) struct Entry {
    pub(crate) command: Cmd,
    pub(crate) size: Size,
}

/// How many bytes an entry has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    pub(crate) total: usize,
    pub(crate) largest_value: usize,
}

impl Adding {
    /// The command up to the id.
    pub(crate) fn begin(self, stream: &str, fields: usize, bytes: usize) -> Cmd {
        let mut command = Cmd::with_capacity(8 + 2 * fields, stream.len() + 64 + bytes);
        command.arg("XADD").arg(stream);
        if !self.is_created {
            command.arg("NOMKSTREAM");
        }
        match self.trim {
            Some(Trim::Length(length)) => {
                command.arg("MAXLEN").arg("~").arg(length);
            }
            Some(Trim::Age(age)) => {
                let oldest = SystemTime::now().checked_sub(age);
                let oldest =
                    oldest.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
                // An age that reaches back before 1970 keeps everything.
                let millis = oldest.unwrap_or_default().as_millis();
                command.arg("MINID").arg("~").arg(millis.to_string());
            }
            None => {}
        }
        command.arg("*");
        command
    }

    pub(crate) fn entry(
        self,
        stream: &str,
        form: &WireForm,
        event: &Event,
    ) -> Result<Entry, PublishError> {
        let message = form.write(Binding::Fields, event)?;
        let size = Size::of(&message);
        let mut command = self.begin(stream, message.headers.len() + 2, size.total);
        for (name, value) in fields(&message) {
            command.arg(name).arg(value);
        }
        Ok(Entry { command, size })
    }
}

/// The fields of a message, each name once.
fn fields<'m>(message: &'m Message<'_>) -> impl Iterator<Item = (&'m str, &'m [u8])> {
    let headers = message.headers.iter().map(|(name, value)| {
        let name = if name == BODY { MOVED_BODY } else { &**name };
        (name, value.as_bytes())
    });
    headers.chain([
        ("content-type", message.content_type.as_bytes()),
        (BODY, &message.body[..]),
    ])
}

impl Size {
    fn of(message: &Message<'_>) -> Self {
        let mut size = Self::default();
        for (name, value) in fields(message) {
            size.total += name.len() + value.len();
            size.largest_value = size.largest_value.max(value.len());
        }
        size
    }
}

/// The entries of one write, all of one stream: Redis adds all of them or none.
pub(crate) fn transaction(entries: Vec<Cmd>, wait: Option<Wait>) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(entries.len() + 3);
    pipeline.add_command(cmd("MULTI"));
    for entry in entries {
        pipeline.add_command(entry);
    }
    pipeline.add_command(cmd("EXEC"));
    if let Some(Wait { replicas, timeout }) = wait {
        let mut wait = cmd("WAIT");
        wait.arg(replicas).arg(timeout.as_millis().to_string());
        pipeline.add_command(wait);
    }
    pipeline
}
