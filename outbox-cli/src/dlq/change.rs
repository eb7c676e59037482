//! `outbox dlq replay` and `outbox dlq purge`.

use super::missing;
use super::pages::{PAGE, Pages};
use super::report::Report;
use crate::cli::{ChangeOptions, PurgeOptions, ReplayOptions};
use crate::failure::Failure;
use crate::log::note;
use crate::signals::Signals;
use crate::terminal::counted;
use crate::wiring;
use outbox_core::{DeadLetterFilter, DeadLetters, DlqHeap, ErrorKind, EventId};
use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

pub(super) async fn replay(options: &ReplayOptions) -> Result<(), Failure> {
    let filter = filter(&options.change)?;
    let urls = options.urls.urls()?;
    let store = wiring::open_store(&urls.store).await?;
    let change = Change::Replay(wiring::open_heap(&urls.heap).await?);
    let stop = Stop::listen()?;
    let run = Run::survey(
        &*store.dead_letters,
        &filter,
        &change,
        &options.change,
        &stop,
    )
    .await?;
    run.go().await
}

pub(super) async fn purge(options: &PurgeOptions) -> Result<(), Failure> {
    let filter = filter(&options.change)?;
    let store = wiring::open_store(&options.store.url()?).await?;
    // A signal ends the question as usual.
    let stop = Stop::never();
    let change = &Change::Purge;
    let run = Run::survey(
        &*store.dead_letters,
        &filter,
        change,
        &options.change,
        &stop,
    )
    .await?;
    if !options.yes && !options.change.dry_run {
        confirm(run.count)?;
    }
    let stop = Stop::listen()?;
    Run { stop: &stop, ..run }.go().await
}

fn filter(options: &ChangeOptions) -> Result<DeadLetterFilter, Failure> {
    let mut filter = options.filter.filter();
    if !options.ids.is_empty() {
        filter.ids = Some(options.ids.clone());
    } else if options.filter.is_empty() && !options.all {
        let message = "say which dead letters: ids, or --type, --key, --error, --before, or --all";
        return Err(Failure::Input(message.to_owned()));
    }
    Ok(filter)
}

enum Change {
    Replay(Arc<dyn DlqHeap>),
    Purge,
}

impl Change {
    fn done(&self) -> &'static str {
        match self {
            Self::Replay(_) => "replayed",
            Self::Purge => "purged",
        }
    }

    /// Changes those of the dead letters that still exist, which may take several calls, and reports
    /// each of them.
    async fn apply(
        &self,
        dead_letters: &dyn DeadLetters,
        mut ids: Vec<EventId>,
        changed: &mut impl FnMut(&[EventId]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        // The new budget of attempts starts from an empty count, so the heap forgets first.
        if let Self::Replay(heap) = self {
            heap.forget(&ids).await?;
        }
        while !ids.is_empty() {
            let filter = DeadLetterFilter::all().ids(ids.iter().copied());
            let done = match self {
                Self::Replay(_) => dead_letters.replay(&filter, ids.len()).await,
                Self::Purge => dead_letters.purge(&filter, ids.len()).await,
            };
            let done: HashSet<EventId> = match done {
                // None of these can be replayed now; the others can.
                Err(error) if error.kind() == ErrorKind::Conflict => return Ok(()),
                done => done?.into_iter().collect(),
            };
            if done.is_empty() {
                return Ok(());
            }
            // An event that was replayed and is dead again has the same id, and stays.
            let (done, rest) = ids.into_iter().partition(|id| done.contains(id));
            ids = rest;
            changed(&done)?;
        }
        Ok(())
    }
}

/// One run over the dead letters that matched when it began.
struct Run<'a> {
    dead_letters: &'a dyn DeadLetters,
    filter: &'a DeadLetterFilter,
    change: &'a Change,
    options: &'a ChangeOptions,
    stop: &'a Stop,
    count: usize,
    /// The last of them. A dead letter that is replayed and dies again comes behind it, so it is not
    /// replayed twice.
    through: u64,
}

impl<'a> Run<'a> {
    async fn survey(
        dead_letters: &'a dyn DeadLetters,
        filter: &'a DeadLetterFilter,
        change: &'a Change,
        options: &'a ChangeOptions,
        stop: &'a Stop,
    ) -> Result<Self, Failure> {
        for ids in options.ids.chunks(PAGE) {
            let filter = DeadLetterFilter::all().ids(ids.iter().copied());
            let found = dead_letters.list(&filter, None, PAGE).await?;
            let found: HashSet<EventId> = found.iter().map(|dead_letter| dead_letter.id).collect();
            if let Some(id) = ids.iter().find(|id| !found.contains(id)) {
                return Err(missing(*id));
            }
        }
        let mut run = Self {
            dead_letters,
            filter,
            change,
            options,
            stop,
            count: 0,
            through: 0,
        };
        let mut pages = Pages::new(dead_letters, filter).through(options.through);
        while let Some(last) = pages.next().await?.last().map(|last| last.position) {
            stop.check()?;
            run.count = pages.read();
            run.through = last;
        }
        Ok(run)
    }

    /// Changes the dead letters, or names them on a dry run.
    async fn go(&self) -> Result<(), Failure> {
        let mut report = Report::begin(self.change.done(), self.options)?;
        let walked = self.walk(&mut report).await;
        let changed = report.count();
        walked
            .and(report.end())
            .map_err(|failure| self.interrupted(failure, changed))?;
        match self.count.saturating_sub(changed) {
            0 => Ok(()),
            _ => Err(Failure::Failed(format!(
                "{} {changed} of {}: the ids or idempotency tokens of the others are in use again, or \
                 they were gone",
                self.change.done(),
                counted(self.count as u64, "dead letter"),
            ))),
        }
    }

    async fn walk(&self, report: &mut Report) -> Result<(), Failure> {
        let mut pages = Pages::new(self.dead_letters, self.filter).through(Some(self.through));
        loop {
            let page = pages.next().await?;
            if page.is_empty() {
                return Ok(());
            }
            self.stop.check()?;
            let ids: Vec<EventId> = page.iter().map(|dead_letter| dead_letter.id).collect();
            let several = self.count > PAGE;
            let mut add = |ids: &[EventId]| {
                let page_is_parted = ids.len() < page.len();
                report.add(ids)?;
                if several || page_is_parted {
                    note(format_args!("{} of {}", report.count(), self.count));
                }
                Ok(())
            };
            if self.options.dry_run {
                add(&ids)?;
            } else {
                self.change.apply(self.dead_letters, ids, &mut add).await?;
            }
        }
    }

    /// The failure, with the position that continues the run without those that died again since.
    fn interrupted(&self, failure: Failure, changed: usize) -> Failure {
        if changed == 0 || self.options.dry_run {
            return failure;
        }
        Failure::Failed(format!(
            "{failure}; {} {changed} of {}: to continue, run it again with --through {}",
            self.change.done(),
            counted(self.count as u64, "dead letter"),
            self.through
        ))
    }
}

/// Whether SIGINT or SIGTERM came. The page that is being changed is finished, so that each change is
/// reported; a second signal ends the process at once.
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn never() -> Self {
        Self(Arc::default())
    }

    fn listen() -> Result<Self, Failure> {
        let mut signals = Signals::listen()?;
        let stop = Self::never();
        let stopped = Arc::clone(&stop.0);
        tokio::spawn(async move {
            signals.stop().await;
            stopped.store(true, SeqCst);
            signals.stop().await;
            std::process::exit(1);
        });
        Ok(stop)
    }

    fn check(&self) -> Result<(), Failure> {
        if self.0.load(SeqCst) {
            return Err(Failure::Failed("interrupted by a signal".to_owned()));
        }
        Ok(())
    }
}

fn confirm(count: usize) -> Result<(), Failure> {
    let refused = "nothing was purged: pass --yes to purge without being asked";
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Input(refused.to_owned()));
    }
    // A question that cannot be written gets no answer.
    let mut out = std::io::stderr();
    write!(
        out,
        "delete {} permanently? [y/N] ",
        counted(count as u64, "dead letter")
    )
    .and_then(|()| out.flush())?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::Failed("nothing was purged".to_owned()))
}
