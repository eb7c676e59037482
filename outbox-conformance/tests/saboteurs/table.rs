//! `docs/conformance.md`: which backend runs which case, and what each case refuses. It is made from
//! the lists of cases, the saboteurs, and the invocations of the suites in the workspace.

use crate::harness::Trial;
use crate::{heap, store, transport};
use std::fmt::{Debug, Write};
use std::fs;
use std::path::{Path, PathBuf};

/// Set to write the file instead of comparing it.
const WRITE: &str = "OUTBOX_WRITE_DOCS";

const HEAD: &str = "# Conformance

Which backend runs which case of the published suites (`outbox-conformance`), and which broken \
backends each case refuses, in each of 200 runs. Those are on one thread, whose tasks take turns at \
each await, by a clock that moves on when all wait; the seeds differ, which matters to scripts and \
histories only. The heap's cases of concurrent calls refuse theirs also in each of 100 runs on the \
runtime that backends meet, with two worker threads, except for locks that wait for one another: \
those are refused by a limit there, a minute each time. The store's are not judged on it. A column is one fixture of a crate; a dash is a group \
that the fixture does not invoke, as its store has nothing of the kind.

Written by `OUTBOX_WRITE_DOCS=1 cargo test -p outbox-conformance table`; a test fails when it is stale.
";

/// One invocation of a suite.
struct Backend {
    package: String,
    fixture: String,
    groups: Vec<String>,
}

#[test]
fn the_table_in_the_docs_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut text = HEAD.to_owned();
    let sources = sources(&root);
    section(&mut text, "DlqHeap", "dlq_heap", &heap::TRIAL, &sources);
    section(
        &mut text,
        "OutboxStorage and DeadLetters",
        "store",
        &store::TRIAL,
        &sources,
    );
    section(
        &mut text,
        "Transport",
        "transport",
        &transport::TRIAL,
        &sources,
    );
    let path = root.join("docs/conformance.md");
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &text).expect("written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "docs/conformance.md is stale: run `{WRITE}=1 cargo test -p outbox-conformance table`"
    );
}

fn section<F: Copy + Debug + Send>(
    text: &mut String,
    title: &str,
    suite: &str,
    trial: &Trial<F>,
    sources: &[(String, String)],
) {
    let backends: Vec<Backend> = sources
        .iter()
        .flat_map(|(package, source)| invocations(package, source, suite))
        .collect();
    let mut header = "| case |".to_owned();
    let mut totals = "| *cases run* |".to_owned();
    for backend in &backends {
        write!(header, " {} {} |", backend.package, backend.fixture).expect("text");
        let runs = |(group, _): &&(&str, &str)| backend.groups.iter().any(|name| name == group);
        let count = trial.cases.iter().filter(runs).count();
        write!(totals, " {count} of {} |", trial.cases.len()).expect("text");
    }
    let lines = "|---".repeat(backends.len() + 2);
    writeln!(text, "\n## {title}\n\n{header} refuses |\n{lines}|").expect("text");
    for (group, case) in trial.cases {
        write!(text, "| {group}: `{case}` |").expect("text");
        for backend in &backends {
            let runs = backend.groups.iter().any(|name| name == group);
            text.push_str(if runs { " ✓ |" } else { " – |" });
        }
        writeln!(text, " {} |", trial.refused_by(case).join("; ")).expect("text");
    }
    writeln!(text, "{totals} |").expect("text");
}

/// The tests of each package of the workspace, by package and path.
fn sources(root: &Path) -> Vec<(String, String)> {
    let mut sources = Vec::new();
    for package in entries(root) {
        let name = package.file_name().unwrap_or_default().to_string_lossy();
        let mut folders = vec![package.join("tests")];
        while let Some(folder) = folders.pop() {
            for path in entries(&folder) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let source = fs::read_to_string(&path).expect("a source");
                    sources.push((name.to_string(), source));
                }
            }
        }
    }
    sources
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = found.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// `outbox_conformance::NAME_suite!(fixture, expression, group, …)` in a source.
fn invocations(package: &str, source: &str, suite: &str) -> Vec<Backend> {
    let begin = format!("outbox_conformance::{suite}_suite!(");
    let calls = source.split(&begin).skip(1);
    calls
        .map(|call| {
            let mut arguments = arguments(call).into_iter();
            Backend {
                package: package.to_owned(),
                fixture: arguments.next().unwrap_or_default(),
                groups: arguments.skip(1).collect(),
            }
        })
        .collect()
}

/// The arguments of a call up to its closing parenthesis.
fn arguments(call: &str) -> Vec<String> {
    let (mut arguments, mut depth) = (vec![String::new()], 0);
    for letter in call.chars() {
        match letter {
            ')' if depth == 0 => break,
            ',' if depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if let Some(argument) = arguments.last_mut() {
            argument.push(letter);
        }
    }
    let trimmed = arguments.iter().map(|argument| argument.trim().to_owned());
    trimmed.filter(|argument| !argument.is_empty()).collect()
}
