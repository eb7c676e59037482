//! Counts the warnings that a backend reports through `tracing`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tracing::instrument::WithSubscriber;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

/// The result of `call`, and how many warnings and errors it reported.
///
/// Warnings of other tasks are not counted.
pub async fn warnings<T>(call: impl Future<Output = T>) -> (T, usize) {
    let warned = Arc::new(AtomicUsize::new(0));
    let counter = Dispatch::new(Counter(Arc::clone(&warned)));
    // With a single subscriber, `tracing` lets the thread that reaches a warning first decide for
    // all threads whether the warning is enabled, and that thread may be of another case. With two
    // it asks the subscribers.
    let second = Dispatch::new(Counter(Arc::default()));
    let result = call.with_subscriber(counter).await;
    drop(second);
    (result, warned.load(Ordering::SeqCst))
}

struct Counter(Arc<AtomicUsize>);

impl Subscriber for Counter {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if *event.metadata().level() <= Level::WARN {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
