//! `outbox status`: what an operator asks first.

mod failing;
mod headline;
mod json;
mod page;
mod report;
mod table;

use crate::cli::StatusOptions;
use crate::failure::Failure;
use crate::signals::Signals;
pub(crate) use failing::longest_pauses;
pub(crate) use report::SILENT;
use report::{Report, Watched};
use std::io::{self, IsTerminal, Write as _};
use std::time::{Duration, SystemTime};

/// Moves the cursor to the start of an empty screen.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

pub(crate) async fn run(options: &StatusOptions) -> Result<(), Failure> {
    let places = options.urls.places()?;
    let is_alone = places.len() == 1;
    let mut stores: Vec<Watched> = places.iter().map(Watched::new).collect();
    if let Some(period) = options.watch {
        return watch(options, &mut stores, period.into()).await;
    }
    let (mut text, mut failures) = (String::new(), Vec::new());
    for store in &mut stores {
        let name = (!is_alone).then(|| store.name().to_owned());
        match store.read().await {
            Ok(report) => {
                text.push_str(&shown(options, &report, is_alone));
                let found = beyond(options, &report);
                if !found.is_empty() {
                    failures.push((name, Failure::Found(found.join("; "))));
                }
            }
            Err(failure) => failures.push((name, failure)),
        }
    }
    written(&text).map_err(Failure::of_stdout)?;
    Failure::of_stores(failures)
}

/// Shows the stores again and again, until a signal, or until the reader has gone.
async fn watch(
    options: &StatusOptions,
    stores: &mut [Watched],
    period: Duration,
) -> Result<(), Failure> {
    if period.is_zero() {
        let message = "time between two pages is 0s, but must be longer than that (--watch)";
        return Err(Failure::Input(message.to_owned()));
    }
    let mut signals = Signals::listen()?;
    loop {
        let page = tokio::select! {
            page = page(options, stores) => page,
            () = signals.stop() => return Ok(()),
        };
        match written(&page) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(Failure::of_stdout)?,
        }
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = signals.stop() => return Ok(()),
        }
    }
}

/// All stores once. One that cannot be read is shown with its error.
async fn page(options: &StatusOptions, stores: &mut [Watched]) -> String {
    let mut text = String::new();
    if !options.json {
        if io::stdout().is_terminal() {
            text.push_str(CLEAR);
        }
        let now = crate::time::seconds(SystemTime::now());
        text.push_str(&now);
        text.push_str("\n\n");
    }
    let is_alone = stores.len() == 1;
    for store in stores {
        match store.read().await {
            Ok(report) => text.push_str(&shown(options, &report, is_alone)),
            Err(failure) if options.json => {
                text.push_str(&json::failed(store.name(), &failure.to_string()));
            }
            Err(failure) => text.push_str(&page::failed(store.name(), &failure.to_string())),
        }
    }
    text
}

fn shown(options: &StatusOptions, report: &Report, is_alone: bool) -> String {
    if options.json {
        return json::report(report, usize::from(options.limit));
    }
    let mut text = page::report(report, usize::from(options.limit), is_alone);
    if !is_alone {
        text.push('\n');
    }
    text
}

fn written(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// What is beyond the limits of the options.
fn beyond(options: &StatusOptions, report: &Report) -> Vec<String> {
    let most = options.max_age.map(Duration::from);
    let old = most.zip(report.age).filter(|(most, age)| age > most);
    let old = old.map(|(most, age)| {
        let [most, age] = [most, age].map(humantime::format_duration);
        format!("oldest pending event is {age} old, but must be at most {most} (--max-age)")
    });
    let count = report.backlog.dead_letters;
    let dead = options.max_dead.filter(|most| count > *most);
    let dead = dead
        .map(|most| format!("dead letters are {count}, but must be at most {most} (--max-dead)"));
    old.into_iter().chain(dead).collect()
}

/// The time between, in whole milliseconds; zero if the clocks disagree.
pub(crate) fn since(earlier: SystemTime, later: SystemTime) -> Duration {
    let passed = later.duration_since(earlier).unwrap_or_default();
    Duration::from_millis(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
}
