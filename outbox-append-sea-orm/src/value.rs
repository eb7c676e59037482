//! The values of the statement as SeaORM sends them.
//!
//! SeaORM panics at a NULL in an array. So arrays with NULLs, those of texts and of times, are sent as a text
//! in PostgreSQL's own form of an array, which the statement casts.

use outbox_append_postgres::Bind;
use sea_orm::Value;
use sea_orm::prelude::TimeDateTimeWithTimeZone;
use std::time::{Duration, SystemTime};

pub(crate) fn value(bind: Bind<'_>) -> Value {
    match bind {
        Bind::Uuid(id) => Value::Uuid(Some(id)),
        Bind::Text(text) => Value::String(text.map(Into::into)),
        Bind::Bytes(bytes) => Value::Bytes(Some(bytes.to_vec())),
        Bind::Time(time) => Value::TimeDateTimeWithTimeZone(time.map(to_micros)),
        Bind::Uuids(ids) => Value::from(ids),
        Bind::ByteArrays(arrays) => {
            let arrays = arrays.into_iter().map(<[u8]>::to_vec);
            Value::from(arrays.collect::<Vec<_>>())
        }
        Bind::Texts(texts) => array(&texts),
        Bind::Times(times) => {
            let times = times
                .into_iter()
                .map(|time| time.map(|time| to_micros(time).to_string()));
            array(&times.collect::<Vec<_>>())
        }
    }
}

/// The time without its nanoseconds, which PostgreSQL would round in a text.
fn to_micros(time: SystemTime) -> TimeDateTimeWithTimeZone {
    // `Event::validate` keeps the times within 1980 to 9999.
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let micros = Duration::new(since.as_secs(), since.subsec_micros() * 1000);
    TimeDateTimeWithTimeZone::UNIX_EPOCH + micros
}

/// An array of texts as PostgreSQL reads it.
fn array<T: AsRef<str>>(texts: &[Option<T>]) -> Value {
    let mut array = String::from("{");
    for (number, text) in texts.iter().enumerate() {
        if number > 0 {
            array.push(',');
        }
        match text {
            Some(text) => quote(&mut array, text.as_ref()),
            None => array.push_str("NULL"),
        }
    }
    array.push('}');
    Value::String(Some(array))
}

fn quote(array: &mut String, text: &str) {
    array.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\\']) {
        array.push_str(&rest[..at]);
        array.push('\\');
        array.push_str(&rest[at..=at]);
        rest = &rest[at + 1..];
    }
    array.push_str(rest);
    array.push('"');
}
