//! Rows of the SQLite store and its heap, with any value in any column: a row is read or refused
//! with a reason, its headers mean the same to the PostgreSQL store, and it can be written to a line.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../outbox-dlq-sqlite/src/row.rs"]
mod entry;
#[path = "../../outbox-cli/src/failure.rs"]
mod failure;
#[path = "../../outbox-store-postgres/src/headers.rs"]
mod headers;
#[path = "../../outbox-cli/src/ndjson/mod.rs"]
mod ndjson;
#[path = "../../outbox-store-sqlite/src/row.rs"]
mod row;
#[path = "../../outbox-cli/src/time.rs"]
mod time;

use headers::headers;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use outbox_core::Event;
use rusqlite::types::{ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, params_from_iter};
use serde_json::value::RawValue;

/// Any value, or one that a column takes.
#[derive(Arbitrary, Debug)]
enum Cell<'a> {
    Null,
    Number(i64),
    Small(i8),
    Real(f64),
    Bytes(&'a [u8]),
    Text(&'a [u8]),
    Id(u128),
    Usual,
}

/// The columns of a row where the input sets no odd value.
const USUAL: [Cell<'_>; 16] = [
    Cell::Small(1),
    Cell::Id(1),
    Cell::Text(b"order.placed"),
    Cell::Text(b"{}"),
    Cell::Text(b"application/json"),
    Cell::Text(b"{}"),
    Cell::Text(b"a key"),
    Cell::Null,
    Cell::Small(0),
    Cell::Null,
    Cell::Small(3),
    Cell::Text(b"no route"),
    Cell::Small(0),
    Cell::Small(0),
    Cell::Small(0),
    Cell::Small(0),
];

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null | Self::Usual => ToSqlOutput::Owned(Value::Null),
            Self::Number(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Self::Small(number) => ToSqlOutput::Owned(Value::Integer((*number).into())),
            Self::Real(number) => ToSqlOutput::Owned(Value::Real(*number)),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Self::Text(bytes) => ToSqlOutput::Borrowed(ValueRef::Text(bytes)),
            Self::Id(id) => ToSqlOutput::Owned(Value::Blob(id.to_be_bytes().into())),
        })
    }
}

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Cells([Cell<'a>; 16]),
    Headers(&'a str),
    Payload(&'a str, &'a [u8]),
    Entry([Cell<'a>; 5]),
}

const ROW: &str = "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16";
const ENTRY: &str = "SELECT ?1, ?2, ?3, ?4, ?5";

thread_local! {
    static SQLITE: Connection = Connection::open_in_memory().expect("opened");
}

fn usual(mut cells: [Cell<'_>; 16]) -> [Cell<'_>; 16] {
    for (cell, usual) in cells.iter_mut().zip(USUAL) {
        if matches!(cell, Cell::Usual) {
            *cell = usual;
        }
    }
    cells
}

fn store(cells: [Cell<'_>; 16]) {
    let cells = usual(cells);
    let (event, shown) = SQLITE.with(|sqlite| {
        let mut select = sqlite.prepare_cached(ROW).expect("prepared");
        let read = |row: &rusqlite::Row<'_>| {
            // Of other columns, so most are refused; none may panic.
            let _ = row::dead_letter(row);
            Ok((row::event(row), row::event_to_show(row)))
        };
        select
            .query_row(params_from_iter(&cells), read)
            .expect("a row")
    });
    if let Cell::Text(text) = cells[5]
        && let Ok(json) = std::str::from_utf8(text)
    {
        match (&event, headers(json)) {
            (Ok(event), read) => {
                assert_eq!(Ok(&event.headers), read.as_ref());
                let written = serde_json::to_string(&event.headers).expect("written");
                assert_eq!(Ok(&event.headers), headers(&written).as_ref());
            }
            (Err(reason), _) => assert!(!reason.is_empty()),
        }
    }
    if let Ok(event) = &event {
        line(event);
    }
    line(&shown);
}

fn line(event: &Event) {
    let line = ndjson::event_json(event).expect("an event is a line");
    assert!(!line.get().contains(['\n', '\r']), "{line}");
    serde_json::from_str::<&RawValue>(line.get()).expect("JSON");
}

fn heap(cells: &[Cell<'_>; 5]) {
    let read = SQLITE.with(|sqlite| sqlite.query_row(ENTRY, params_from_iter(cells), entry::entry));
    if let Ok(entry) = read {
        assert!(entry.first_failed_at <= entry.last_failed_at, "{entry:?}");
    }
}

fuzz_target!(|input: Input<'_>| {
    const fn blank<'a>() -> [Cell<'a>; 16] {
        [const { Cell::Usual }; 16]
    }
    match input {
        Input::Cells(cells) => store(cells),
        Input::Headers(json) => {
            let mut cells = blank();
            cells[5] = Cell::Text(json.as_bytes());
            store(cells);
        }
        Input::Payload(content_type, payload) => {
            let event = Event::new("order.placed", payload.to_vec());
            line(&event.content_type(content_type));
        }
        Input::Entry(cells) => heap(&cells),
    }
});
