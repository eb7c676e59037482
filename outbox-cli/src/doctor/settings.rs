//! Settings that are allowed, but do not work well together.

use crate::settings::ServiceSettings;
use crate::wiring::Finding;
use humantime::format_duration;
use outbox_core::OutboxConfig;

pub(super) fn examine(settings: &ServiceSettings) -> Vec<Finding> {
    let config = &settings.config;
    retention(config).into_iter().chain(grace(config)).collect()
}

/// A count that is forgotten between two attempts never reaches the threshold.
fn retention(config: &OutboxConfig) -> Option<Finding> {
    let (retention, delay) = (config.heap_retention(), config.retry_max());
    (retention <= delay).then(|| {
        let [retention, delay] = [retention, delay].map(format_duration);
        Finding::error(
            "heap-retention",
            format!("heap-retention is {retention}, but an event may wait for {delay} (retry-max) between two attempts: its count is forgotten, and it never becomes a dead letter"),
            "set heap-retention to a few times retry-max",
        )
    })
}

fn grace(config: &OutboxConfig) -> Option<Finding> {
    let (grace, timeout) = (config.shutdown_grace(), config.publish_timeout());
    (grace < timeout).then(|| {
        let [grace, timeout] = [grace, timeout].map(format_duration);
        Finding::warning(
            "shutdown-grace",
            format!("shutdown-grace is {grace}, but a publish call may take {timeout} (publish-timeout): a relay that stops may leave events that are published a second time"),
            "set shutdown-grace to at least publish-timeout, and the time that the platform gives the process to more than that",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn settings_that_do_not_fit_each_other_are_found_and_the_defaults_are_not() {
        let config = OutboxConfig::default();
        assert!(retention(&config).is_none() && grace(&config).is_none());
        let hour = Duration::from_secs(3600);
        let builder = OutboxConfig::builder().heap_retention(hour).retry_max(hour);
        let config = builder.shutdown_grace(Duration::ZERO).build().unwrap();
        assert!(retention(&config).unwrap().problem.contains("1h"));
        assert!(
            grace(&config)
                .unwrap()
                .problem
                .contains("shutdown-grace is 0s")
        );
    }
}
