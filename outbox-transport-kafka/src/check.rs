//! What can be found out without publishing.

use crate::KafkaConfig;
use crate::error::{Meaning, meaning};
use crate::producer::{Current, Producer, Watch, topic_error};
use outbox_core::{PublishError, PublishErrorKind, TransportCheck};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::metadata::{Metadata, MetadataTopic};
use std::thread;
use std::time::Duration;

/// The setting of a topic.
const LARGEST: &str = "max.message.bytes";

/// Looks for the cluster, and for the topic that all events need.
pub(crate) async fn check(config: &KafkaConfig, current: &Current) -> TransportCheck {
    let producer = match current.get(config) {
        Ok(producer) => producer,
        Err(problem) => return TransportCheck::default().problem(problem),
    };
    let topic = config.topic.constant();
    let name = topic.map(str::to_owned);
    let facts = move |metadata: &Metadata| facts(metadata, name.as_deref());
    let found = tokio::select! {
        found = producer.metadata(topic, config.call_timeout, facts) => match found {
            Ok(found) => found,
            Err(error) => return TransportCheck::default().problem(problem(&producer, error)),
        },
        problem = refused(&producer) => {
            current.retire(&producer);
            return TransportCheck::default().problem(problem);
        }
    };
    let Some(topic) = topic else {
        return found.note("topics depend on the events, so none was looked for");
    };
    if !found.problems.is_empty() {
        return found;
    }
    let note = match largest(config, topic).await {
        Some(largest) if largest < u64::from(config.largest_event) => {
            return found.warning(format!(
                "the topic takes batches of at most {largest} bytes, so the option largest_event should not be more than that (it is {})",
                config.largest_event
            ));
        }
        Some(_) => format!("the largest event has about {} bytes", config.largest_event),
        None => format!(
            "the user may not ask for the largest message of the topic (DescribeConfigs); events of up to about {} bytes are sent",
            config.largest_event
        ),
    };
    found.note(note)
}

async fn refused(producer: &Producer) -> PublishError {
    match producer.watch() {
        Some(watch) => watch.refused().await,
        None => std::future::pending().await,
    }
}

fn facts(metadata: &Metadata, topic: Option<&str>) -> TransportCheck {
    let brokers = metadata.brokers().len();
    let found = TransportCheck::default().note(format!("brokers: {brokers}"));
    let Some(name) = topic else {
        return found;
    };
    if let Some(code) = topic_error(metadata, name) {
        return found.problem(of_topic(name, code));
    }
    let topics = metadata
        .topics()
        .iter()
        .filter(|topic| topic.name() == name);
    topics.fold(found, partitions)
}

/// Partitions without a leader take nothing.
fn partitions(found: TransportCheck, topic: &MetadataTopic) -> TransportCheck {
    let partitions = topic.partitions();
    let found = found.note(format!("partitions of the topic: {}", partitions.len()));
    let headless = partitions
        .iter()
        .filter(|partition| partition.leader() < 0)
        .count();
    if headless == 0 {
        return found;
    }
    let error = PublishError::new(PublishErrorKind::Unavailable).with_destination(topic.name());
    found.problem(error.with_source(format!("partitions without a leader: {headless}")))
}

fn of_topic(name: &str, code: Code) -> PublishError {
    let kind = match meaning(code) {
        Meaning::Topic => PublishErrorKind::Misconfigured,
        _ => PublishErrorKind::Unavailable,
    };
    PublishError::new(kind)
        .with_destination(name)
        .with_source(code)
}

fn problem(producer: &Producer, code: Code) -> PublishError {
    let trouble = producer.watch().and_then(Watch::trouble);
    trouble.unwrap_or_else(|| {
        let kind = match meaning(code) {
            Meaning::Cluster => PublishErrorKind::Misconfigured,
            _ => PublishErrorKind::Unavailable,
        };
        PublishError::new(kind).with_source(code)
    })
}

/// The largest batch of a topic, if the broker says it.
async fn largest(config: &KafkaConfig, topic: &str) -> Option<u64> {
    let client = config.client();
    let limit = Some(config.call_timeout.min(Duration::from_secs(5)));
    let admin: AdminClient<DefaultClientContext> = client.create().ok()?;
    let topic = ResourceSpecifier::Topic(topic);
    let options = AdminOptions::new().request_timeout(limit);
    let asked = admin.describe_configs([&topic], &options).await;
    // Closing it waits for its threads.
    thread::spawn(move || drop(admin));
    let resource = asked.ok()?.into_iter().next()?.ok()?;
    resource.get(LARGEST)?.value.as_ref()?.parse().ok()
}
