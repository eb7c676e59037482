//! Replies of the Redis heap's scripts and of `INFO`: any reply, and rows with any values.
#![no_main]
#![allow(dead_code)]

#[path = "../../outbox-driver-redis/src/info.rs"]
mod info;
#[path = "../../outbox-dlq-redis/src/reply.rs"]
mod reply;

use info::{evicting, is_replica};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use outbox_driver_redis::redis::{FromRedisValue, Value, parse_redis_value};
use reply::{Entries, Page, Size};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Bytes(&'a [u8]),
    Rows(Vec<Row<'a>>),
    Size(i64, Option<f64>),
    Info(&'a str),
}

/// A row whose id may be valid.
#[derive(Arbitrary, Debug)]
struct Row<'a> {
    id: Result<u128, &'a str>,
    count: Number<'a>,
    first: Option<Number<'a>>,
    details: Option<&'a [u8]>,
}

#[derive(Arbitrary, Debug)]
enum Number<'a> {
    Whole(i64),
    Double(f64),
    Text(&'a [u8]),
}

impl Number<'_> {
    fn value(&self) -> Value {
        match self {
            Self::Whole(number) => Value::Int(*number),
            Self::Double(number) => Value::Double(*number),
            Self::Text(text) => Value::BulkString(text.to_vec()),
        }
    }
}

impl Row<'_> {
    fn value(&self) -> Value {
        let id = match self.id {
            Ok(id) => uuid::Uuid::from_u128(id).to_string(),
            Err(text) => text.to_owned(),
        };
        let details = self
            .details
            .map(|details| Value::BulkString(details.to_vec()));
        Value::Array(vec![
            Value::BulkString(id.into()),
            self.count.value(),
            self.first.as_ref().map(Number::value).unwrap_or_default(),
            details.unwrap_or_default(),
        ])
    }
}

fn read(value: Value) {
    if let Ok(page) = Page::<Entries>::from_redis_value(value.clone()) {
        for entry in page.content.0 {
            assert!(entry.first_failed_at <= entry.last_failed_at, "{entry:?}");
        }
    }
    let _ = Size::from_redis_value(value.clone()).map(|size| size.oldest);
    let _ = Page::<usize>::from_redis_value(value).map(drop);
}

fuzz_target!(|input: Input<'_>| {
    match input {
        Input::Bytes(bytes) => {
            if let Ok(value) = parse_redis_value(bytes) {
                read(value);
            }
        }
        Input::Rows(rows) => {
            let whole = rows
                .iter()
                .filter(|row| row.id.is_ok() && row.first.is_none());
            let whole = whole.filter(|row| matches!(row.count, Number::Whole(1..=4_294_967_295)));
            let all_whole = whole.count() == rows.len();
            let page = Value::Array(vec![
                Value::Int(0),
                Value::Int(0),
                Value::SimpleString("1".to_owned()),
                Value::SimpleString(String::new()),
                Value::SimpleString(String::new()),
                Value::Array(rows.iter().map(Row::value).collect()),
            ]);
            if all_whole {
                let read = Page::<Entries>::from_redis_value(page.clone());
                let read = read.map(|page| page.content.0.len());
                assert_eq!(
                    read.ok(),
                    Some(rows.len()),
                    "details cost an entry: {rows:?}"
                );
            }
            read(page);
        }
        Input::Size(entries, oldest) => {
            let oldest = oldest.map(Value::Double).unwrap_or_default();
            read(Value::Array(vec![Value::Int(entries), oldest]));
        }
        Input::Info(text) => drop((evicting(text), is_replica(text))),
    }
});
