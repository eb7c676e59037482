//! `docs/conformance.md`: the cases of each clause, the faults that they refuse, and the backends
//! that run them. It is made from the docs of the traits, the lists of cases, the saboteurs, and
//! the invocations of the suites in the workspace.

use crate::clauses::{
    APPEND, Clause, Contract, HEAP, INBOX, REGISTRY, STORE, TRANSPORT, citations, citing,
};
use crate::harness::Trial;
use crate::{append, heap, inbox, registry, store, transport};
use std::fmt::{Debug, Write};
use std::fs;
use std::path::{Path, PathBuf};

/// Set to write the file instead of comparing it.
const WRITE: &str = "OUTBOX_WRITE_DOCS";

const HEAD: &str = "# Conformance

For each trait of `outbox-core`, for the inboxes and for the ways to append, the first table maps its clauses to the cases of \
`outbox-conformance` that check them, and each case to the broken backends that it refuses. A test \
fails when a clause has no case, when a case cites no clause, and when a case refuses nothing.

Each broken backend is run with different seeds on a single-threaded runtime with a paused clock: 20 \
times by default, and 200 times where `OUTBOX_SABOTEUR_RUNS=200` is set, as in `.ci/run` and `just \
soak`. It must be refused in every run, by a message that starts with the clauses of the case. The cases \
with concurrent calls are also run half as often on two threads, except with faults that hang, such as a \
deadlock or a lost wake-up: these are refused by a timeout, which would take a minute each time.

The second table has the backends that run each case. A column is one fixture of a crate. A dash is a \
group of cases that the fixture does not run, because its store has no such ability.

Written by `OUTBOX_WRITE_DOCS=1 cargo test -p outbox-conformance --test saboteurs table`; a test fails \
when it is out of date.
";

/// Sources that invoke a suite on something other than a backend.
const NO_BACKENDS: &[&str] = &[
    "outbox-conformance/tests/decorators.rs",
    "outbox-conformance/tests/fixture_names.rs",
];

/// A source of a package.
struct Source {
    package: String,
    text: String,
}

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
    clauses(&mut text, HEAP, "heap", &heap::TRIAL);
    backends(&mut text, "dlq_heap", heap::TRIAL.cases, &sources);
    clauses(&mut text, STORE, "store", &store::TRIAL);
    backends(&mut text, "store", store::TRIAL.cases, &sources);
    clauses(&mut text, REGISTRY, "registry", &registry::TRIAL);
    backends(&mut text, "registry", registry::TRIAL.cases, &sources);
    clauses(&mut text, TRANSPORT, "transport", &transport::TRIAL);
    backends(&mut text, "transport", transport::TRIAL.cases, &sources);
    clauses(&mut text, INBOX, "inbox", &inbox::TRIAL);
    backends(&mut text, "inbox", inbox::TRIAL.cases, &sources);
    clauses(&mut text, APPEND, "append", &append::TRIAL);
    backends(&mut text, "append", append::TRIAL.cases, &sources);
    let path = root.join("docs/conformance.md");
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &text).expect("written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "docs/conformance.md is out of date: run \
         `{WRITE}=1 cargo test -p outbox-conformance --test saboteurs table`"
    );
}

/// The clauses of each trait, the cases that cite them, and the faults that these refuse.
fn clauses<F: Copy + Debug + Send + Sync>(
    table: &mut String,
    contracts: &[Contract],
    suite: &str,
    trial: &Trial<F>,
) {
    let citations = citations(suite);
    let cases: Vec<&str> = trial.cases.iter().map(|(_, case)| *case).collect();
    for contract in contracts {
        writeln!(table, "\n## {}\n", contract.0).expect("text");
        table.push_str("| clause | text | case | refuses |\n|---|---|---|---|\n");
        for Clause { id, text } in crate::clauses::clauses(contract) {
            let mut columns = format!("**{id}** | {text}");
            for case in citing(&id, &cases, &citations) {
                let refuses = trial.refused_by(case).join("; ");
                writeln!(table, "| {columns} | `{case}` | {refuses} |").expect("text");
                " | ".clone_into(&mut columns);
            }
        }
    }
}

/// Which fixture of a backend runs which case.
fn backends(text: &mut String, suite: &str, cases: &[(&str, &str)], sources: &[Source]) {
    let found = sources.iter().flat_map(|source| invocations(source, suite));
    let backends: Vec<Backend> = found.collect();
    assert!(!backends.is_empty(), "no backend invokes {suite}_suite!");
    let mut header = "| case |".to_owned();
    let mut totals = "| *cases run* |".to_owned();
    for Backend {
        package,
        fixture,
        groups,
    } in &backends
    {
        assert!(!groups.is_empty(), "{package} {fixture} has no group");
        for group in groups {
            let is_known = cases.iter().any(|(known, _)| known == group);
            assert!(is_known, "{package} {fixture}: no group is {group}");
        }
        write!(header, " {package} {fixture} |").expect("text");
        let runs = |(group, _): &&(&str, &str)| groups.iter().any(|name| name == group);
        let count = cases.iter().filter(runs).count();
        write!(totals, " {count} of {} |", cases.len()).expect("text");
    }
    let lines = "|---".repeat(backends.len() + 1);
    writeln!(text, "\n{header}\n{lines}|").expect("text");
    for (group, case) in cases {
        write!(text, "| {group}: `{case}` |").expect("text");
        for backend in &backends {
            let runs = backend.groups.iter().any(|name| name == group);
            text.push_str(if runs { " ✓ |" } else { " – |" });
        }
        text.push('\n');
    }
    writeln!(text, "{totals}").expect("text");
}

/// The sources of each of the [`members`], without [`NO_BACKENDS`].
fn sources(root: &Path) -> Vec<Source> {
    let (mut sources, mut left_out) = (Vec::new(), 0);
    for member in members(root) {
        let package = member.rsplit('/').next().unwrap_or_default();
        let folders = ["src", "tests"].map(|name| root.join(&member).join(name));
        for path in below(folders.to_vec()) {
            if NO_BACKENDS.iter().any(|name| path == root.join(name)) {
                left_out += 1;
                continue;
            }
            sources.push(Source {
                package: package.to_owned(),
                text: fs::read_to_string(&path).expect("a source"),
            });
        }
    }
    assert_eq!(left_out, NO_BACKENDS.len(), "sources without a backend");
    sources
}

/// The members of the workspace, and the crates that are separate workspaces, by their folders.
fn members(root: &Path) -> Vec<String> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("a manifest");
    let (_, list) = manifest.split_once("\nmembers = [").expect("members");
    let list = list.split(']').next().unwrap_or_default();
    let mut members: Vec<String> = list
        .split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    members.extend(separate(root));
    members.sort();
    members
}

fn separate(root: &Path) -> impl Iterator<Item = String> {
    entries(root).into_iter().filter_map(|path| {
        let manifest = fs::read_to_string(path.join("Cargo.toml")).ok()?;
        let name = path.file_name()?.to_str()?;
        let is_separate = manifest.lines().any(|line| line == "[workspace]");
        (is_separate && name.starts_with("outbox-")).then(|| name.to_owned())
    })
}

/// The sources in some folders and in those below them.
pub(crate) fn below(mut folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(path);
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

/// `NAME_suite!(fixture, expression, group, …)` in a source, with any path before it.
fn invocations(source: &Source, suite: &str) -> Vec<Backend> {
    let begin = format!("{suite}_suite!(");
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let code: Vec<&str> = source.text.lines().filter(is_code).collect();
    let code = code.join("\n");
    let parts: Vec<&str> = code.split(&begin).collect();
    parts
        .windows(2)
        .map(|pair| {
            let mut arguments = arguments(pair[1]).into_iter();
            let name = arguments.next().unwrap_or_default();
            let optional = if is_optional(pair[0]) {
                " (a feature)"
            } else {
                ""
            };
            Backend {
                package: source.package.clone(),
                fixture: format!("{name}{optional}"),
                groups: arguments.skip(1).collect(),
            }
        })
        .collect()
}

/// Whether the code before a call ends with `#[cfg(…)]` and the path of the macro.
fn is_optional(before: &str) -> bool {
    let mut lines = before.lines().rev().skip(1);
    lines.next().is_some_and(|line| line.starts_with("#[cfg("))
}

/// The arguments of a call up to its closing parenthesis.
fn arguments(call: &str) -> Vec<String> {
    let (mut arguments, mut depth) = (vec![String::new()], 0);
    for character in call.chars() {
        match character {
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
            argument.push(character);
        }
    }
    let trimmed = arguments.iter().map(|argument| argument.trim().to_owned());
    trimmed.filter(|argument| !argument.is_empty()).collect()
}
