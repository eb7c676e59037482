//! `outbox dlq export`.

use super::letter;
use super::pages::Pages;
use crate::cli::ExportOptions;
use crate::failure::Failure;
use crate::wiring::{self, Destination};
use std::fmt::Display;
use std::io::{BufWriter, Write};
use std::path::Path;
use tempfile::NamedTempFile;

pub(super) async fn run(options: &ExportOptions) -> Result<(), Failure> {
    let destination = wiring::destination(&options.to)?;
    let url = options.store.url()?;
    let store = wiring::open_store(&url, false).await?;
    let filter = options.filter.filter();
    let mut pages = Pages::new(&*store.letters, &filter);
    let count = match destination {
        Destination::Stdout => write(&mut pages, &mut std::io::stdout()).await?,
        Destination::File(path) => to_file(&mut pages, Path::new(path)).await?,
    };
    eprintln!("exported: {count}");
    Ok(())
}

/// The file appears under its name when it is whole, and never replaces another.
async fn to_file(pages: &mut Pages<'_>, path: &Path) -> Result<usize, Failure> {
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
    let count = write(pages, &mut file).await?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)
        .map_err(|error| refused(&error.error))?;
    Ok(count)
}

async fn write(pages: &mut Pages<'_>, out: &mut impl Write) -> Result<usize, Failure> {
    let mut out = BufWriter::new(out);
    let mut count = 0;
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            out.flush()?;
            return Ok(count);
        }
        for letter in &page {
            writeln!(out, "{}", letter::json(letter)?)?;
        }
        count += page.len();
    }
}
