//! What the traits of `outbox-core` promise, read from their docs: each clause, its text, and the
//! cases that it names.

use crate::harness::Trial;
use crate::{heap, store, transport};
use std::collections::HashSet;
use std::fmt::{self, Debug, Display};

/// A trait, and the source that it stands in.
pub(crate) type Contract = (&'static str, &'static str);

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
pub(crate) const TRANSPORT: &[Contract] = &[(
    "Transport",
    include_str!("../../../outbox-core/src/transport.rs"),
)];

/// What the docs say up to the cases that they name for it.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Promise {
    pub(crate) place: Place,
    pub(crate) text: String,
    pub(crate) cases: Vec<String>,
}

/// Where a promise stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// In a clause, such as `H1`.
    Clause(String),
    /// In the docs of a method.
    Method(String),
    /// Beside the clauses.
    Trait,
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clause(number) => write!(f, "**{number}**"),
            Self::Method(name) => write!(f, "`{name}`"),
            Self::Trait => f.write_str("–"),
        }
    }
}

#[test]
fn each_clause_of_a_trait_names_a_case_and_each_case_is_named() {
    let mut complaints = judge(HEAP, &heap::TRIAL);
    complaints.extend(judge(STORE, &store::TRIAL));
    complaints.extend(judge(TRANSPORT, &transport::TRIAL));
    assert!(complaints.is_empty(), "{complaints:#?}");
}

fn judge<F: Copy + Debug + Send + Sync>(contracts: &[Contract], trial: &Trial<F>) -> Vec<String> {
    let cases: Vec<&str> = trial.cases.iter().map(|(_, case)| *case).collect();
    let refuses = |case: &str| !trial.refused_by(case).is_empty();
    complaints(contracts, &cases, refuses)
}

/// What is wrong with the docs of the traits that `cases` check.
fn complaints(
    contracts: &[Contract],
    cases: &[&str],
    refuses: impl Fn(&str) -> bool,
) -> Vec<String> {
    let (mut complaints, mut named) = (Vec::new(), HashSet::new());
    for contract in contracts {
        let promises = promises(contract);
        complaints.extend(misnumbered(contract, &promises));
        for Promise { place, text, cases } in &promises {
            if cases.is_empty() {
                complaints.push(format!("{place} names no case for: {text}"));
            } else if !cases.iter().any(|case| refuses(case)) {
                complaints.push(format!("{place} has no case that refuses a fault: {text}"));
            }
            if let Some((sentence, _)) = text.split_once(". ") {
                complaints.push(format!("{place} names no case for: {sentence}"));
            }
        }
        named.extend(promises.into_iter().flat_map(|promise| promise.cases));
    }
    for case in cases {
        if !named.remove(*case) {
            complaints.push(format!("no clause or sentence names {case}"));
        }
    }
    complaints.extend(named.into_iter().map(|case| format!("no case is {case}")));
    complaints
}

/// Unless the clauses are 1, 2, …, each of them where a mark is.
fn misnumbered((name, source): &Contract, promises: &[Promise]) -> Option<String> {
    let mut found: Vec<&str> = Vec::new();
    for promise in promises {
        if let Place::Clause(number) = &promise.place
            && found.last() != Some(&number.as_str())
        {
            found.push(number);
        }
    }
    let dead_letter = found.first().and_then(|first| first.chars().next());
    let dead_letter = dead_letter.unwrap_or('?');
    let marks = source.split("**").filter(|text| is_number(text)).count();
    let expected: Vec<String> = (1..=marks.max(1))
        .map(|number| format!("{dead_letter}{number}"))
        .collect();
    (found != expected).then(|| format!("{name} has {marks} marks, and clauses {found:?}"))
}

/// Such as `H1`.
fn is_number(text: &str) -> bool {
    let mut dead_letters = text.chars();
    dead_letters
        .next()
        .is_some_and(|first| first.is_ascii_uppercase())
        && text.len() > 1
        && dead_letters.all(|digit| digit.is_ascii_digit())
}

/// All that the clauses of a trait say, and what else in its docs names a case.
pub(crate) fn promises((name, source): &Contract) -> Vec<Promise> {
    let mut promises = Vec::new();
    for (method, docs) in documented(name, source) {
        for paragraph in paragraphs(&docs) {
            let place = method.map_or(Place::Trait, |name| Place::Method(name.to_owned()));
            let (place, text) = match clause(&paragraph) {
                Some((number, text)) => (Place::Clause(number.to_owned()), text),
                None => (place, paragraph.as_str()),
            };
            let is_clause = matches!(place, Place::Clause(_));
            for (text, cases) in pieces(text) {
                if is_clause || !cases.is_empty() {
                    let last = text.rsplit(". ").next().unwrap_or_default();
                    let text = if is_clause { &text } else { last }.to_owned();
                    let place = place.clone();
                    promises.push(Promise { place, text, cases });
                }
            }
        }
    }
    promises
}

/// The docs of a trait, and of each of its methods by name.
fn documented<'s>(name: &str, source: &'s str) -> Vec<(Option<&'s str>, Vec<&'s str>)> {
    let begin = format!("pub trait {name}:");
    let (mut found, mut docs) = (Vec::new(), Vec::new());
    for line in source.lines() {
        let code = line.trim_start();
        if let Some(text) = code.strip_prefix("///") {
            docs.push(text.strip_prefix(' ').unwrap_or(text));
        } else if line.starts_with(&begin) {
            found.push((None, std::mem::take(&mut docs)));
        } else if !found.is_empty() && line == "}" {
            break;
        } else if let Some(method) = method(code) {
            let docs = std::mem::take(&mut docs);
            if !found.is_empty() {
                found.push((Some(method), docs));
            }
        } else if !code.starts_with("#[") {
            docs.clear();
        }
    }
    found
}

fn method(code: &str) -> Option<&str> {
    let named = code.strip_prefix("async ").unwrap_or(code);
    named.strip_prefix("fn ")?.split(['(', '<']).next()
}

/// Each paragraph and each item of a list in one line, links as their text.
fn paragraphs(docs: &[&str]) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    for line in docs {
        if line.is_empty() || line.starts_with("- ") {
            paragraphs.push(String::new());
        }
        if let Some(paragraph) = paragraphs.last_mut() {
            paragraph.push_str(line.trim());
            paragraph.push(' ');
        }
    }
    paragraphs.iter().map(|text| without_links(text)).collect()
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

/// The number and the text of `- **H1** text`.
fn clause(paragraph: &str) -> Option<(&str, &str)> {
    let (number, text) = paragraph.strip_prefix("- **")?.split_once("**")?;
    is_number(number).then_some((number, text))
}

/// A text cut after each list of cases, `(`one`, `two`)`, and what follows the last of them. A piece
/// that goes on in the sentence of the one before begins with `…`.
fn pieces(text: &str) -> Vec<(String, Vec<String>)> {
    let (mut pieces, mut begin) = (Vec::new(), 0);
    for (open, _) in text.match_indices('(') {
        let inner = text[open + 1..].split(')').next().unwrap_or_default();
        if let Some(cases) = named(inner) {
            pieces.push((tidy(&text[begin..open], begin > 0), cases));
            begin = open + inner.len() + 2;
        }
    }
    let rest = tidy(&text[begin..], begin > 0);
    if rest.contains(char::is_alphanumeric) {
        pieces.push((rest, Vec::new()));
    }
    pieces
}

/// The names if there is nothing else.
fn named(inner: &str) -> Option<Vec<String>> {
    let is_part =
        |dead_letter: char| dead_letter.is_ascii_lowercase() || dead_letter.is_ascii_digit();
    let names = inner.split(", ").map(|name| {
        let name = name.strip_prefix('`')?.strip_suffix('`')?;
        let is_case = name.contains('_') && name.split('_').all(|part| part.chars().all(is_part));
        is_case.then(|| name.to_owned())
    });
    names.collect()
}

/// Without what joins a piece to the one before, if there is one.
fn tidy(text: &str, is_later: bool) -> String {
    let goes_on = is_later && !text.starts_with('.');
    let text = text.trim_matches([' ', '.', ',', ';', ':']);
    let text = text.strip_prefix("and ").unwrap_or(text);
    let mark = if goes_on { "… " } else { "" };
    format!("{mark}{text}")
}

mod tests {
    use super::*;

    const SOURCE: &str = "
/// Of another.
fn other() {}

/// Does things.
///
/// - **X1** One [`Thing`](crate::Thing) (of many)
///   (`a_case`), and a second
///   (`b_case`, `c_2_case`).
/// - **X2** A third (`d_case`).
///
/// Not for all. Yet so (`e_case`): this is not kept.
#[async_trait]
pub trait Sample: Send {
    /// Does it.
    ///
    /// # Errors
    ///
    /// It fails. It says so (`f_case`).
    async fn call(&self);
}

/// - **X3** of another (`g_case`).
pub struct Other;
";
    const CASES: [&str; 6] = ["a_case", "b_case", "c_2_case", "d_case", "e_case", "f_case"];

    /// What is replaced by what, and what is told then.
    const BROKEN: [(&str, &str, &str); 10] = [
        ("d_case", "d_cases", "no case is d_cases"),
        ("(`d_case`)", "", "**X2** names no case for: A third"),
        (
            "third (",
            "third. More (",
            "**X2** names no case for: A third",
        ),
        (
            "(`d_case`).",
            "(`d_case`). More.",
            "**X2** names no case for: More",
        ),
        ("`d_case`", "d_case", "no clause or sentence names d_case"),
        (" (`e_case`)", "", "no clause or sentence names e_case"),
        (
            "**X2**",
            "**X3**",
            r#"Sample has 2 marks, and clauses ["X1", "X3"]"#,
        ),
        (
            "- **X2**",
            "**X2**",
            r#"Sample has 2 marks, and clauses ["X1"]"#,
        ),
        (
            "X3 of",
            "**X3** of",
            r#"Sample has 3 marks, and clauses ["X1", "X2"]"#,
        ),
        (
            "trait Sample",
            "trait Simple",
            "Sample has 2 marks, and clauses []",
        ),
    ];

    fn found(source: &str) -> Vec<String> {
        let source: &'static str = source.to_owned().leak();
        complaints(&[("Sample", source)], &CASES, |case| case != "d_case")
    }

    #[test]
    fn the_docs_of_a_trait_are_read_with_those_of_its_methods() {
        let read = promises(&("Sample", SOURCE));
        let lines: Vec<String> = read
            .iter()
            .map(|promise| format!("{} {} {:?}", promise.place, promise.text, promise.cases))
            .collect();
        assert_eq!(
            lines,
            [
                r#"**X1** One `Thing` (of many) ["a_case"]"#,
                r#"**X1** … a second ["b_case", "c_2_case"]"#,
                r#"**X2** A third ["d_case"]"#,
                r#"– Yet so ["e_case"]"#,
                r#"`call` It says so ["f_case"]"#,
            ]
        );
    }

    #[test]
    fn whatever_is_missing_is_told() {
        let sound = SOURCE.replace("**X3**", "X3");
        let unrefused = "**X2** has no case that refuses a fault: A third";
        assert_eq!(found(&sound), [unrefused]);
        for (from, to, complaint) in BROKEN {
            assert!(sound.contains(from), "{from}");
            let told = found(&sound.replace(from, to));
            assert!(told.iter().any(|told| told == complaint), "{to}: {told:#?}");
        }
    }
}
