//! One call: its messages, and the answer to each of them.

use crate::attempt::{Attempt, End, Outcome, publish};
use crate::config::{RabbitMqConfig, Unroutable};
use crate::connections::Connections;
use crate::error::{Refusal, refusal, unavailable};
use crate::link::{Health, Lease, Link};
use crate::outgoing::Outgoing;
use lapin::Confirmation;
use lapin::options::BasicPublishOptions;
use outbox_core::{PublishError, PublishErrorKind};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a destination pauses that refuses a message without a reason, as a full queue does.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) type Answer = Result<(), PublishError>;

/// The messages of a call, and the answers so far.
pub(crate) struct Call<'t> {
    pub(crate) config: &'t RabbitMqConfig,
    pub(crate) connections: &'t Connections,
    pub(crate) messages: Arc<[Outgoing]>,
    pub(crate) answers: Vec<Option<Answer>>,
    pub(crate) until: Instant,
}

/// What an attempt leaves to do.
enum Rest {
    Nothing,
    /// The broker closed the channel because of one of these messages, or of all.
    Refused(Refusal, lapin::Error, Vec<usize>),
    /// The connection or the channel was lost.
    Lost(PublishError, Vec<usize>),
    Failed(PublishError, Vec<usize>),
}

impl Call<'_> {
    /// Publishes all messages. When the broker refuses one of them, it closes the channel and does not
    /// say which one it was. So the messages without a confirm are published again in smaller groups,
    /// until a group has only messages to blame.
    pub(crate) async fn run(mut self) -> Vec<Answer> {
        let mut groups = VecDeque::from([(0..self.messages.len()).collect::<Vec<_>>()]);
        // A channel that lapin and the broker close at the same time can end the connection of others.
        let mut may_reconnect = true;
        while let Some(group) = groups.pop_front() {
            match self.attempt(&group).await {
                Rest::Nothing => {}
                Rest::Refused(refusal, error, group) => {
                    may_reconnect = true;
                    self.split(refusal, &error, group, &mut groups);
                }
                Rest::Lost(error, group) if may_reconnect && self.has_time() => {
                    tracing::debug!(%error, "the connection is lost, and the call continues on another one");
                    may_reconnect = false;
                    groups.push_front(group);
                }
                Rest::Lost(error, group) | Rest::Failed(error, group) => {
                    groups.push_front(group);
                    self.refuse(groups.make_contiguous().concat(), &error);
                    break;
                }
            }
        }
        let missing = || Err(unavailable("no answer"));
        let answers = self.answers.into_iter();
        answers
            .map(|answer| answer.unwrap_or_else(missing))
            .collect()
    }

    fn has_time(&self) -> bool {
        Instant::now() < self.until
    }

    async fn attempt(&mut self, group: &[usize]) -> Rest {
        let link = match self.connections.link(self.config, self.until).await {
            Ok(link) => link,
            Err(error) => return Rest::Failed(error, group.to_vec()),
        };
        if let Some(error) = troubled(&link.health()) {
            return Rest::Failed(error, group.to_vec());
        }
        let group = self.check_headers(&link, group);
        if group.is_empty() {
            return Rest::Nothing;
        }
        let confirms = link.confirms();
        let lease = match self.lease(&link).await {
            Ok(lease) => lease,
            Err(error) => return Rest::Lost(error, group),
        };
        let options = BasicPublishOptions {
            mandatory: self.config.unroutable == Unroutable::Wait,
            ..BasicPublishOptions::default()
        };
        let attempt = publish(&link, lease, &self.messages, &group, options, self.until).await;
        if matches!(attempt.end, End::TimedOut) {
            self.give_up_silent(&link, confirms);
        }
        self.judge(&link, &group, attempt)
    }

    /// A channel of `link`, or why there is none.
    async fn lease(&self, link: &Arc<Link>) -> Result<Lease, PublishError> {
        let confirms = link.confirms();
        let lease = tokio::select! {
            lease = timeout_at(self.until, link.lease()) => lease,
            trouble = link.trouble() => {
                return Err(troubled(&trouble).unwrap_or_else(|| unavailable("no channel")));
            }
        };
        match lease {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(error)) => {
                self.connections.forget(link);
                Err(unavailable(error))
            }
            Err(_) => {
                self.give_up_silent(link, confirms);
                Err(unavailable("no channel within the call timeout"))
            }
        }
    }

    /// A connection over which nothing came in the time of a call is replaced, whether the broker is
    /// silent or the way to it.
    fn give_up_silent(&self, link: &Arc<Link>, confirms: u64) {
        if link.confirms() == confirms {
            link.set_silent();
            self.connections.forget(link);
        }
    }

    fn check_headers(&mut self, link: &Link, group: &[usize]) -> Vec<usize> {
        let largest = link.connection().configuration().frame_max();
        let mut sound = Vec::with_capacity(group.len());
        for &index in group {
            match self.messages[index].check_header(largest) {
                Ok(()) => sound.push(index),
                Err(error) => self.answers[index] = Some(Err(error)),
            }
        }
        sound
    }

    fn judge(&mut self, link: &Link, group: &[usize], attempt: Attempt) -> Rest {
        let returned = returned(&attempt.outcomes);
        let (mut open, mut cause) = (Vec::new(), attempt.unsent);
        let mut confirms = 0;
        for (&index, outcome) in group.iter().zip(attempt.outcomes) {
            let message = &self.messages[index];
            let answer = match outcome {
                Some(Ok(confirmation)) => answer(message, &confirmation, &returned),
                Some(Err(error)) => {
                    // A refusal says more than that the channel is closed.
                    if cause.as_ref().is_none_or(|cause| refusal(cause).is_none()) {
                        cause = Some(error);
                    }
                    None
                }
                None => None,
            };
            match answer {
                Some(answer) => {
                    confirms += 1;
                    self.answers[index] = Some(answer);
                }
                None => open.push(index),
            }
        }
        link.count_confirms(confirms);
        self.rest(open, attempt.end, cause)
    }

    fn rest(&self, open: Vec<usize>, end: End, cause: Option<lapin::Error>) -> Rest {
        let Some(&first) = open.first() else {
            return Rest::Nothing;
        };
        if let Some((refusal, error)) = cause
            .as_ref()
            .and_then(|error| Some((refusal(error)?, error)))
        {
            return Rest::Refused(refusal, error.clone(), open);
        }
        let is_lost = matches!(end, End::Complete | End::Troubled(Health::Lost(_)));
        let error = match (end, cause) {
            (End::Troubled(health), _) => {
                troubled(&health).unwrap_or_else(|| unavailable("the connection changed"))
            }
            (End::TimedOut, _) => self.messages[first]
                .error(PublishErrorKind::Unavailable)
                .with_source("no confirm within the call timeout"),
            (End::Complete, Some(error)) => unavailable(error),
            (End::Complete, None) => unavailable("the channel has no confirms"),
        };
        if is_lost {
            Rest::Lost(error, open)
        } else {
            Rest::Failed(error, open)
        }
    }

    /// Blames the messages of a group that must be to blame, or splits it.
    fn split(
        &mut self,
        refusal: Refusal,
        error: &lapin::Error,
        group: Vec<usize>,
        groups: &mut VecDeque<Vec<usize>>,
    ) {
        let parts = match refusal {
            Refusal::Size => largest_first(&self.messages, group),
            Refusal::Message => halves(group),
            Refusal::Exchange => same(group, |index| &self.messages[index].exchange),
            Refusal::Topic => same(group, |index| {
                let message = &self.messages[index];
                (&message.exchange, Some(&message.routing_key))
            }),
        };
        if let [blamed] = &parts[..] {
            let kind = match refusal {
                Refusal::Size => PublishErrorKind::Permanent,
                Refusal::Message => PublishErrorKind::Rejected,
                Refusal::Exchange | Refusal::Topic => PublishErrorKind::Misconfigured,
            };
            for &index in blamed {
                let error = self.messages[index].error(kind).with_source(error.clone());
                self.answers[index] = Some(Err(error));
            }
        } else {
            parts
                .into_iter()
                .rev()
                .for_each(|part| groups.push_front(part));
        }
    }

    fn refuse(&mut self, group: Vec<usize>, error: &PublishError) {
        for index in group {
            self.answers[index] = Some(Err(error.clone()));
        }
    }
}

/// The broker's words for each message that it returned. Lapin gives a returned message to any of the
/// confirms that come at once, so it is recognised by its id.
fn returned(outcomes: &[Option<Outcome>]) -> HashMap<String, String> {
    let messages = outcomes.iter().filter_map(|outcome| match outcome {
        Some(Ok(Confirmation::Ack(message) | Confirmation::Nack(message))) => message.as_ref(),
        _ => None,
    });
    let words = messages.filter_map(|message| {
        let id = message.delivery.properties.message_id().as_ref()?;
        let words = format!("{} {}", message.reply_code, message.reply_text);
        Some((id.to_string(), words))
    });
    words.collect()
}

/// The answer to a message that was confirmed. `None` if the channel is not in confirm mode.
fn answer(
    message: &Outgoing,
    confirmation: &Confirmation,
    returned: &HashMap<String, String>,
) -> Option<Answer> {
    if let Some(words) = returned.get(message.id.as_str()) {
        let error = message.error(PublishErrorKind::Misconfigured);
        let problem = format!("the broker returned the message: {words}");
        return Some(Err(error.with_source(problem)));
    }
    match confirmation {
        Confirmation::Ack(_) => Some(Ok(())),
        Confirmation::Nack(_) => {
            let error = message.error(PublishErrorKind::Throttled(PATIENCE));
            Some(Err(
                error.with_source("the broker refused the message (basic.nack)")
            ))
        }
        Confirmation::NotRequested => None,
    }
}

pub(crate) fn troubled(health: &Health) -> Option<PublishError> {
    match health {
        Health::Open => None,
        Health::Blocked(reason) => Some(unavailable(format!(
            "the broker blocks publishers: {reason}"
        ))),
        Health::Lost(cause) => Some(unavailable(cause.clone())),
    }
}

/// The largest message alone, as it is the most likely to be too large.
fn largest_first(messages: &[Outgoing], mut group: Vec<usize>) -> Vec<Vec<usize>> {
    let largest = (0..group.len()).max_by_key(|&place| messages[group[place]].payload.len());
    let largest = group.remove(largest.unwrap_or_default());
    let parts = [vec![largest], group];
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

fn halves(mut group: Vec<usize>) -> Vec<Vec<usize>> {
    let second = group.split_off(group.len().div_ceil(2));
    let parts = [group, second];
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

/// Parts whose messages have the same `of`.
fn same<K: Ord>(group: Vec<usize>, of: impl Fn(usize) -> K) -> Vec<Vec<usize>> {
    let mut parts = BTreeMap::<K, Vec<usize>>::new();
    for index in group {
        parts.entry(of(index)).or_default().push(index);
    }
    parts.into_values().collect()
}
