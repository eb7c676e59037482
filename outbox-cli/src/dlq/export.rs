//! `outbox dlq export`.

use super::dead_letter;
use super::pages::PAGE;
use crate::cli::ExportOptions;
use crate::failure::Failure;
use crate::log::note;
use crate::terminal::counted;
use crate::wiring::{self, Destination};
use outbox_core::{ClaimLimit, DeadLetterFilter, DeadLetters};
use std::fmt::Display;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use tempfile::NamedTempFile;

pub(super) async fn run(options: &ExportOptions) -> Result<(), Failure> {
    let destination = wiring::destination(&options.to)?;
    let url = options.store.url()?;
    let store = wiring::open_store(&url).await?;
    let filter = options.filter.filter();
    let dead_letters = Walk {
        dead_letters: &*store.dead_letters,
        filter: &filter,
    };
    let count = match destination {
        Destination::Stdout => {
            let mut out = std::io::stdout();
            dead_letters.write(&mut out, Failure::of_stdout).await?
        }
        Destination::File(path) => to_file(&dead_letters, Path::new(path)).await?,
    };
    let count = counted(count as u64, "dead letter");
    note(format_args!("exported {count}"));
    Ok(())
}

/// The file appears under its name when it is whole, and never replaces another.
async fn to_file(dead_letters: &Walk<'_>, path: &Path) -> Result<usize, Failure> {
    let refused =
        |why: &dyn Display| Failure::Input(format!("cannot export to {}: {why}", path.display()));
    if path.exists() {
        return Err(refused(&"it exists; name a new file"));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = NamedTempFile::new_in(folder).map_err(|error| refused(&error))?;
    let failed = |error| {
        let path = path.display();
        Failure::Failed(format!("cannot export to {path}: {error}"))
    };
    let count = dead_letters.write(&mut file, failed).await?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path)
        .map_err(|error| refused(&error.error))?;
    Ok(count)
}

/// All dead letters that match, with their events, in pages that fit into memory.
struct Walk<'a> {
    dead_letters: &'a dyn DeadLetters,
    filter: &'a DeadLetterFilter,
}

impl Walk<'_> {
    /// Writes a line each; `failed` says what cannot be written to.
    async fn write(
        &self,
        out: &mut impl Write,
        failed: impl Fn(io::Error) -> Failure,
    ) -> Result<usize, Failure> {
        let mut out = BufWriter::new(out);
        let (mut count, mut after) = (0, None);
        loop {
            let page = self
                .dead_letters
                .export(self.filter, after, PAGE, ClaimLimit::BYTES)
                .await?;
            let Some((last, _)) = page.last() else {
                out.flush().map_err(failed)?;
                return Ok(count);
            };
            after = Some(last.position);
            for (dead_letter, event) in &page {
                writeln!(out, "{}", dead_letter::json(dead_letter, event)?).map_err(&failed)?;
            }
            count += page.len();
        }
    }
}
