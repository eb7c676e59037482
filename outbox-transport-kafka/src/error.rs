//! What the errors of librdkafka and of brokers mean to the worker.

use outbox_core::PublishErrorKind;
use rdkafka::error::RDKafkaErrorCode as Code;

/// What a failed delivery report says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Meaning {
    /// The producer, or the partition of a topic that is removed, ended before the message had an answer.
    /// Another producer sends it again.
    Ended,
    /// The broker refused the batch because of one of its messages.
    Message(PublishErrorKind),
    /// The topic is missing, or this user may not write to it.
    Topic,
    /// This user may not write to the cluster.
    Cluster,
    Unavailable,
}

pub(crate) fn meaning(code: Code) -> Meaning {
    match code {
        Code::PurgeQueue | Code::PurgeInflight | Code::Fatal | Code::BrokerDestroy => {
            Meaning::Ended
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
            Meaning::Message(PublishErrorKind::Permanent)
        }
        Code::InvalidRecord
        | Code::InvalidDifferentRecord
        | Code::InvalidTimestamp
        | Code::PolicyViolation
        | Code::UnsupportedCompressionType
        | Code::UnsupportedForMessageFormat => Meaning::Message(PublishErrorKind::Rejected),
        Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::InvalidTopic
        | Code::TopicAuthorizationFailed => Meaning::Topic,
        Code::ClusterAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::Authentication
        | Code::UnsupportedFeature
        | Code::InvalidRequiredAcks
        | Code::NotImplemented => Meaning::Cluster,
        _ => Meaning::Unavailable,
    }
}
