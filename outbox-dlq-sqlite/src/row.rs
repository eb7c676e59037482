//! An entry as a row.

use outbox_core::{DlqEntry, ErrorText, EventId};
use outbox_driver_sqlite::from_micros;
use outbox_driver_sqlite::rusqlite::{self, Row};
use uuid::Uuid;

pub(crate) fn entry(row: &Row<'_>) -> rusqlite::Result<DlqEntry> {
    let id = Uuid::from_bytes(row.get(0)?);
    let count: u32 = row.get(1)?;
    // Another program may have stored text that is not UTF-8. It must not block the other entries.
    let error = row.get_ref(2)?.as_bytes_or_null()?;
    let error = error.map(String::from_utf8_lossy);
    let (first, last): (i64, i64) = (row.get(3)?, row.get(4)?);
    let (first, last) = (from_micros(first), from_micros(last.max(first)));
    let entry = DlqEntry::new(EventId::from(id), count, first, last);
    Ok(entry.with_error(error.as_deref().map(ErrorText::new)))
}
