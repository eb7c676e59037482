//! What one service of a relay is made of.

use super::file::{ConfigFile, StoreTable};
use super::place::{Place, UrlOptions, Urls, many};
use super::relay::RelaySettings;
use super::secret;
use crate::failure::Failure;
use crate::wiring::{self, Budget};
use outbox_core::OutboxConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The name of a store that has none in the configuration file.
pub(super) const NAME: &str = "default";

/// A store with its relay, after flags, environment and file are merged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ServiceSettings {
    /// Unique in the process.
    pub(crate) name: Arc<str>,
    pub(crate) urls: Urls,
    pub(crate) to: String,
    pub(crate) block_keys: bool,
    pub(crate) drain_timeout: Duration,
    pub(crate) health_max_age: Duration,
    pub(crate) config: OutboxConfig,
}

/// All services of a process.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) services: Vec<ServiceSettings>,
    /// The connections to PostgreSQL that they may hold together.
    pub(crate) budget: Budget,
    /// Where the process listens.
    pub(crate) listen: Option<SocketAddr>,
}

impl UrlOptions {
    /// All stores of the file with their relays, or the one that is named. Asks no server, and reports all
    /// that is wrong.
    pub(crate) fn plan(&self, flags: &RelaySettings) -> Result<Plan, Failure> {
        let file = self.file()?;
        let flags = with_secret(flags)?;
        let places = self.places_of(&file)?;
        check_flags(&file, &flags, &places)?;
        let mut problems = Problems::default();
        let mut services = Vec::new();
        for place in places {
            services.extend(problems.take(service(&file, &flags, place)));
        }
        problems.none_or_fail()?;
        let mut problems = Problems::default();
        wiring::check_apart(&services, &mut |why| problems.add(file.refused(why)));
        let relay = file.relay_with(&flags);
        let budget = Budget::new(relay.connections(), &services).map_err(|why| {
            if flags.connections.is_none() && self.has_file() {
                vec![file.refused(why)]
            } else {
                vec![Failure::Input(why)]
            }
        });
        let budget = problems.take(budget);
        problems.none_or_fail()?;
        let budget = budget.unwrap_or_default();
        Ok(Plan {
            services,
            budget,
            listen: relay.listen,
        })
    }
}

/// The destination may be in a file that a variable names.
pub(super) fn with_secret(flags: &RelaySettings) -> Result<RelaySettings, Failure> {
    let mut flags = flags.clone();
    flags.to = secret::given(flags.to.as_ref(), "OUTBOX_TO")?;
    Ok(flags)
}

/// Refuses a destination for all stores that comes from a flag: events of one would go where those of
/// another belong.
fn check_flags(file: &ConfigFile, flags: &RelaySettings, places: &[Place]) -> Result<(), Failure> {
    let of_one = [
        (&flags.to, "--to or OUTBOX_TO"),
        (&flags.template, "--template or OUTBOX_TEMPLATE"),
    ];
    match of_one.iter().find(|(value, _)| value.is_some()) {
        Some((_, name)) if places.len() > 1 => Err(many(file, &format!("{name} is set"))),
        _ => Ok(()),
    }
}

fn service(
    file: &ConfigFile,
    flags: &RelaySettings,
    place: Place,
) -> Result<ServiceSettings, Vec<Failure>> {
    let table = place.table.as_ref();
    let mut problems = Problems::default();
    let config = problems.take(file.relay_config(flags, table));
    let settings = merged(file, flags, table);
    let at = |failure: Failure| match table {
        Some(table) => file.refused(format_args!(
            "line {}: store {}: {failure}",
            table.line, table.name
        )),
        None => failure,
    };
    let drain_timeout = settings.drain_timeout();
    if drain_timeout.is_zero() {
        let message = "drain timeout is 0s, but must be longer than that";
        problems.add(at(Failure::Input(message.to_owned())));
    }
    let health_max_age = settings.health_max_age();
    if health_max_age.is_zero() {
        let message = "health max age is 0s, but must be longer than that";
        problems.add(at(Failure::Input(message.to_owned())));
    }
    let to = settings.destination().map_err(|failure| vec![at(failure)]);
    let to = problems.take(to);
    if let (Some(to), Some(config)) = (&to, &config) {
        for failure in wiring::check_urls(&place.urls, to, config.publish_timeout()) {
            problems.add(at(failure));
        }
    }
    let (Some(config), Some(to), true) = (config, to, problems.0.is_empty()) else {
        return Err(problems.0);
    };
    Ok(ServiceSettings {
        name: place.label().into(),
        urls: place.urls,
        to,
        block_keys: settings.block_keys.unwrap_or(false),
        drain_timeout,
        health_max_age,
        config,
    })
}

/// The flags, then the table of the store, then `[relay]`.
pub(super) fn merged(
    file: &ConfigFile,
    flags: &RelaySettings,
    table: Option<&StoreTable>,
) -> RelaySettings {
    let own = table.map_or_else(RelaySettings::default, |table| table.own.settings.clone());
    file.relay_with(&flags.clone().over(own))
}

/// All that is wrong.
#[derive(Default)]
struct Problems(Vec<Failure>);

impl Problems {
    fn add(&mut self, failure: Failure) {
        self.0.push(failure);
    }

    fn take<T>(&mut self, result: Result<T, Vec<Failure>>) -> Option<T> {
        result.map_err(|problems| self.0.extend(problems)).ok()
    }

    fn none_or_fail(mut self) -> Result<(), Failure> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0)),
            _ => {
                let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
                Err(Failure::Input(lines.join("\n")))
            }
        }
    }
}
