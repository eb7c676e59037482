//! Lines as JSON objects.

use crate::time;
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use serde_json::{Map, Value};
use std::fmt::{self, Debug};
use std::time::SystemTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

/// Formats an event of `tracing` as a JSON object. The fields of its spans are among its own.
pub(crate) struct JsonForm;

impl<'w> FormatFields<'w> for JsonForm {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = Fields::default();
        fields.record(&mut visitor);
        write!(writer, "{}", Value::Object(visitor.others))
    }
}

impl<S, N> FormatEvent<S, N> for JsonForm
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            let extensions = span.extensions();
            let text = extensions.get::<FormattedFields<N>>();
            let others = text.and_then(|text| serde_json::from_str(text).ok());
            fields
                .others
                .extend::<Map<_, _>>(others.unwrap_or_default());
        }
        event.record(&mut fields);
        let metadata = event.metadata();
        let line = object(*metadata.level(), metadata.target(), fields);
        writeln!(writer, "{line}")
    }
}

/// The line of a text that is not an event of `tracing`.
pub(super) fn plain(level: Level, message: &str) -> String {
    let fields = Fields {
        message: message.to_owned(),
        ..Fields::default()
    };
    object(level, "outbox", fields)
}

fn object(level: Level, target: &str, fields: Fields) -> String {
    let mut line = Map::new();
    let mut add = |name: &str, value: Value| line.insert(name.to_owned(), value);
    add("timestamp", time::micros(SystemTime::now()).into());
    add("level", level.as_str().into());
    add("target", target.into());
    add("message", fields.message.into());
    add("fields", Value::Object(fields.others));
    let context = Context::current();
    let span = context.span();
    let span = span.span_context();
    if span.is_valid() {
        add("trace_id", span.trace_id().to_string().into());
        add("span_id", span.span_id().to_string().into());
    }
    Value::Object(line).to_string()
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.others.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.add(field, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }
}
