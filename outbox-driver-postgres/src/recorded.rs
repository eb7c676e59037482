//! The newest migration that a component has recorded, and whether this program may use its tables.

use crate::error::refusal;
use crate::migrate::Component;
use outbox_core::{ErrorKind, OutboxError};

/// A row of `outbox_migrations`: the newest one of a component.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    pub(crate) version: u32,
    /// The oldest version whose programs may use the tables.
    pub(crate) min_compatible: u32,
}

impl Recorded {
    /// Refuses tables that a newer program migrated, unless they are compatible with this one.
    pub(crate) fn check(
        self,
        component: &Component,
        operation: &'static str,
    ) -> Result<(), OutboxError> {
        let (newest, name) = (component.newest(), component.name);
        let Self {
            version,
            min_compatible,
        } = self;
        if version <= newest || min_compatible <= newest {
            return Ok(());
        }
        let text = format!(
            "the tables of {name} are of version {version}, for programs that know version {min_compatible} \
             or a later one, and this program knows {newest}; use a newer program"
        );
        Err(refusal(ErrorKind::Invalid, operation, text))
    }

    /// Logs that the tables are newer than this program. Each upgrade and each rollback has a time of such
    /// programs, and no person has to act, so the level is not `warn`.
    pub(crate) fn log(self, component: &Component) {
        let newest = component.newest();
        let Self {
            version,
            min_compatible,
        } = self;
        if version > newest {
            tracing::info!(
                component = component.name,
                "the tables are of version {version}, and this program knows {newest}: it may use them, \
                 because they are compatible with programs of version {min_compatible} and later"
            );
        }
    }
}
