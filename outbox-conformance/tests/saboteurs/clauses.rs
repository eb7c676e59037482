//! The clauses in the docs of the traits of `outbox-core`, and the cases that cite them.
//!
//! A clause is an item `- **H1** sentence` of a trait's docs. A case cites its clauses at the start
//! of its doc comment: `/// H1, H4: sentence`, or `/// H1 to H5: sentence`.

use crate::harness::Trial;
use crate::{append, heap, inbox, registry, store, transport};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::Path;

/// A trait, and its source.
pub(crate) type Contract = (&'static str, &'static str);

/// The ids that each case cites, by its name.
pub(crate) type Citations = BTreeMap<String, Vec<String>>;

pub(crate) const HEAP: &[Contract] = &[(
    "DlqHeap",
    include_str!("../../../outbox-core/src/dlq/heap.rs"),
)];
pub(crate) const STORE: &[Contract] = &[
    (
        "OutboxStorage",
        include_str!("../../../outbox-core/src/storage.rs"),
    ),
    (
        "DeadLetters",
        include_str!("../../../outbox-core/src/dlq/dead_letters.rs"),
    ),
];
pub(crate) const REGISTRY: &[Contract] = &[(
    "RelayRegistry",
    include_str!("../../../outbox-core/src/registry.rs"),
)];
pub(crate) const TRANSPORT: &[Contract] = &[(
    "Transport",
    include_str!("../../../outbox-core/src/transport.rs"),
)];
pub(crate) const INBOX: &[Contract] = &[("Inbox", include_str!("../../src/inbox/mod.rs"))];
pub(crate) const APPEND: &[Contract] = &[("Append", include_str!("../../src/append/mod.rs"))];

#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Clause {
    /// Such as `H1`.
    pub(crate) id: String,
    pub(crate) text: String,
}

#[test]
fn each_clause_of_a_trait_has_a_case_and_each_case_cites_a_clause() {
    let mut complaints = judge(HEAP, "heap", &heap::TRIAL);
    complaints.extend(judge(STORE, "store", &store::TRIAL));
    complaints.extend(judge(REGISTRY, "registry", &registry::TRIAL));
    complaints.extend(judge(TRANSPORT, "transport", &transport::TRIAL));
    complaints.extend(judge(INBOX, "inbox", &inbox::TRIAL));
    complaints.extend(judge(APPEND, "append", &append::TRIAL));
    assert!(complaints.is_empty(), "{complaints:#?}");
}

fn judge<F: Copy + Debug + Send + Sync>(
    contracts: &[Contract],
    suite: &str,
    trial: &Trial<F>,
) -> Vec<String> {
    let cases: Vec<&str> = trial.cases.iter().map(|(_, case)| *case).collect();
    let refuses = |case: &str| !trial.refused_by(case).is_empty();
    complaints(contracts, &cases, &citations(suite), refuses)
}

/// The faults in the docs of the traits or of the cases that check them.
fn complaints(
    contracts: &[Contract],
    cases: &[&str],
    citations: &Citations,
    refuses: impl Fn(&str) -> bool,
) -> Vec<String> {
    let (mut complaints, mut ids) = (Vec::new(), Vec::new());
    for contract in contracts {
        let clauses = clauses(contract);
        complaints.extend(misnumbered(contract, &clauses));
        complaints.extend(cases_in_docs(contract, cases));
        for Clause { id, text } in clauses {
            if text.matches(". ").count() > 1 {
                complaints.push(format!("{id} has more than two sentences"));
            }
            let citing: Vec<&str> = citing(&id, cases, citations).collect();
            if citing.is_empty() {
                complaints.push(format!("no case cites {id}: {text}"));
            } else if !citing.into_iter().any(&refuses) {
                complaints.push(format!("no case of {id} refuses a fault: {text}"));
            }
            ids.push(id);
        }
    }
    for case in cases {
        match citations.get(*case).map(Vec::as_slice) {
            None | Some([]) => complaints.push(format!("{case} cites no clause")),
            Some(cited) => {
                let unknown = cited.iter().filter(|id| !ids.contains(id));
                complaints.extend(
                    unknown.map(|id| format!("{case} cites {id}, but no clause has that id")),
                );
            }
        }
    }
    complaints
}

/// The cases that cite a clause, in the order of the suite.
pub(crate) fn citing<'c>(
    id: &str,
    cases: &[&'c str],
    citations: &Citations,
) -> impl Iterator<Item = &'c str> {
    cases.iter().copied().filter(move |case| {
        let cited = citations.get(*case);
        cited.is_some_and(|cited| cited.iter().any(|cited| cited == id))
    })
}

/// Clauses are numbered 1, 2, …, and nothing else in the source looks like the start of one.
fn misnumbered((name, source): &Contract, clauses: &[Clause]) -> Option<String> {
    let found: Vec<&str> = clauses.iter().map(|clause| clause.id.as_str()).collect();
    let prefix = found.first().and_then(|id| id.chars().next());
    let prefix = prefix.unwrap_or('?');
    let marks = source.split("**").filter(|text| is_id(text)).count();
    let expected: Vec<String> = (1..=marks.max(1)).map(|n| format!("{prefix}{n}")).collect();
    (found != expected).then(|| format!("{name} has {marks} marks, but the clauses {found:?}"))
}

/// The generated page maps clauses to cases; names in rustdoc would be a second list.
fn cases_in_docs(&(name, source): &Contract, cases: &[&str]) -> Vec<String> {
    let named = |case: &&&str| source.contains(&format!("`{case}`"));
    let complaint = |case| format!("the docs of {name} name the case {case}");
    cases.iter().filter(named).map(complaint).collect()
}

/// Such as `H1`.
fn is_id(text: &str) -> bool {
    let mut characters = text.chars();
    let first = characters.next();
    first.is_some_and(|first| first.is_ascii_uppercase())
        && text.len() > 1
        && characters.all(|digit| digit.is_ascii_digit())
}

/// The clauses of a trait, in their order.
pub(crate) fn clauses((name, source): &Contract) -> Vec<Clause> {
    let declaration = format!("pub trait {name}:");
    let (mut docs, mut clauses) = (Vec::new(), Vec::new());
    for line in source.lines() {
        if let Some(text) = line.strip_prefix("///") {
            docs.push(text.trim());
        } else if line.starts_with(&declaration) {
            clauses = items(&docs)
                .iter()
                .filter_map(|item| clause(item))
                .collect();
        } else if !line.starts_with("#[") {
            docs.clear();
        }
    }
    clauses
}

/// Each paragraph and each item of a list in one line.
fn items(docs: &[&str]) -> Vec<String> {
    let mut items = vec![String::new()];
    for line in docs {
        if line.is_empty() || line.starts_with("- ") {
            items.push(String::new());
        }
        if let Some(item) = items.last_mut() {
            let space = if item.is_empty() { "" } else { " " };
            item.push_str(space);
            item.push_str(line);
        }
    }
    items.iter().map(|text| without_links(text)).collect()
}

/// `[text](target)` and `[text]` as `text`.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        let Some((label, after)) = link.split_once(']') else {
            break;
        };
        plain.push_str(before);
        plain.push_str(label);
        rest = match after.strip_prefix('(').and_then(|to| to.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
    }
    plain + rest
}

/// The id and the text of `- **H1** text`.
fn clause(item: &str) -> Option<Clause> {
    let (id, text) = item.strip_prefix("- **")?.split_once("** ")?;
    is_id(id).then(|| Clause {
        id: id.to_owned(),
        text: text.to_owned(),
    })
}

/// The citations of the functions in the sources of a suite.
pub(crate) fn citations(suite: &str) -> Citations {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.join(suite)];
    let mut citations = Citations::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the suite") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                citations.extend(cited(&fs::read_to_string(path).expect("a source")));
            }
        }
    }
    citations
}

/// The public asynchronous functions of a source, with the ids at the start of their docs.
fn cited(source: &str) -> Citations {
    let (mut first, mut found) = (None, Citations::new());
    for line in source.lines() {
        if let Some(text) = line.strip_prefix("/// ") {
            first.get_or_insert(text);
        } else if let Some(function) = line.strip_prefix("pub async fn ") {
            let name = function.split(['(', '<']).next().unwrap_or_default();
            let ids = first.take().map(ids).unwrap_or_default();
            found.insert(name.to_owned(), ids);
        } else if !line.starts_with("#[") && !line.starts_with("///") {
            first = None;
        }
    }
    found
}

/// `H1, H4: …` and `H1 to H3: …` as ids.
fn ids(docs: &str) -> Vec<String> {
    let Some((list, _)) = docs.split_once(": ") else {
        return Vec::new();
    };
    let mut ids = Vec::new();
    for part in list.split(", ") {
        let (first, last) = part.split_once(" to ").unwrap_or((part, part));
        let same_prefix = first.chars().next() == last.chars().next();
        if !is_id(first) || !is_id(last) || !same_prefix {
            return Vec::new();
        }
        let (prefix, first) = first.split_at(1);
        let number = |digits: &str| digits.parse::<u32>().unwrap_or_default();
        ids.extend((number(first)..=number(&last[1..])).map(|n| format!("{prefix}{n}")));
    }
    ids
}

mod tests {
    use super::*;

    const SOURCE: &str = "
/// - **X9** A clause of another trait.
pub struct Other;

/// Does things.
///
/// - **X1** One [`Thing`](crate::Thing) (of many)
///   is done. It is done once.
/// - **X2** Another is done.
/// - **X3** A third is done.
///
/// This has no id.
#[async_trait]
pub trait Sample: Send {
    /// Does it.
    async fn call(&self);
}
";
    const CASES: &str = "
/// X1: done.
/// Y9: this line cites nothing.
pub async fn a_case<F: Fixture>(fixture: F) {
    // …
}

/// X1 to X2, X3: done.
#[allow(unused)]
pub async fn b_case<F: Fixture>(fixture: F) {}

/// X9: no case.
fn helper() {}
";

    /// A text of the trait's source, its replacement, and the complaint about it.
    const BROKEN_CLAUSES: [(&str, &str, &str); 6] = [
        (
            "**X2**",
            "**X4**",
            r#"Sample has 3 marks, but the clauses ["X1", "X4", "X3"]"#,
        ),
        (
            "- **X3**",
            "**X3**",
            r#"Sample has 3 marks, but the clauses ["X1", "X2"]"#,
        ),
        (
            "trait Sample",
            "trait Simple",
            "Sample has 3 marks, but the clauses []",
        ),
        (
            "A third is done.",
            "A third. Is. Done.",
            "X3 has more than two sentences",
        ),
        (
            "has no id",
            "is `a_case`",
            "the docs of Sample name the case a_case",
        ),
        (
            "A third is done.",
            "A third is done.\n/// - **X4** A fourth is done.",
            "no case cites X4: A fourth is done.",
        ),
    ];

    /// The same for the source of the cases.
    const BROKEN_CASES: [(&str, &str, &str); 5] = [
        ("X1: done", "Done", "a_case cites no clause"),
        ("X1: done", "X1 to Y2: done", "a_case cites no clause"),
        (
            "X1: done",
            "X7: done",
            "a_case cites X7, but no clause has that id",
        ),
        (", X3", "", "no case cites X3: A third is done."),
        ("fn a_case", "fn an_other", "a_case cites no clause"),
    ];

    fn sound() -> String {
        SOURCE.replace("**X9**", "X9")
    }

    fn found(source: String, cases: &str) -> Vec<String> {
        let source: &'static str = source.leak();
        let names = ["a_case", "b_case"];
        complaints(&[("Sample", source)], &names, &cited(cases), |_| true)
    }

    #[test]
    fn the_clauses_of_a_trait_are_read_without_links() {
        let read = clauses(&("Sample", SOURCE));
        let lines: Vec<String> = read
            .iter()
            .map(|it| format!("{} {}", it.id, it.text))
            .collect();
        assert_eq!(
            lines,
            [
                "X1 One `Thing` (of many) is done. It is done once.",
                "X2 Another is done.",
                "X3 A third is done.",
            ]
        );
    }

    #[test]
    fn the_citations_of_cases_are_read_from_their_first_line() {
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let expected = [
            ("a_case".to_owned(), ids(&["X1"])),
            ("b_case".to_owned(), ids(&["X1", "X2", "X3"])),
        ];
        assert_eq!(cited(CASES), Citations::from(expected));
    }

    #[test]
    fn a_missing_clause_or_case_is_a_complaint() {
        assert!(found(sound(), CASES).is_empty());
        for (from, to, complaint) in BROKEN_CLAUSES {
            assert!(sound().contains(from), "{from}");
            let complaints = found(sound().replacen(from, to, 1), CASES);
            assert!(
                complaints.iter().any(|it| it == complaint),
                "{to}: {complaints:#?}"
            );
        }
        for (from, to, complaint) in BROKEN_CASES {
            assert!(CASES.contains(from), "{from}");
            let complaints = found(sound(), &CASES.replacen(from, to, 1));
            assert!(
                complaints.iter().any(|it| it == complaint),
                "{to}: {complaints:#?}"
            );
        }
    }

    #[test]
    fn a_clause_whose_cases_refuse_no_fault_is_a_complaint() {
        let source: &'static str = sound().leak();
        let cases = ["a_case", "b_case"];
        let complaints = complaints(&[("Sample", source)], &cases, &cited(CASES), |case| {
            case == "a_case"
        });
        assert_eq!(
            complaints,
            [
                "no case of X2 refuses a fault: Another is done.",
                "no case of X3 refuses a fault: A third is done.",
            ]
        );
    }
}
