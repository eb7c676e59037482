//! What is written of the faults: the table of `docs/operations.md`, and the tests of the alerts.

use super::DESTINATION;
use super::fault::Now::{self, Grows, Is, Nan, Seldom, Stays};
use super::fault::{Fault, USUAL};
use super::{broker, store};
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

const FAULTS: &[&Fault] = &[
    &store::PASSWORD,
    &broker::PASSWORD,
    &store::RIGHTS,
    &broker::GONE,
    &broker::MISSING,
    &store::FULL,
    &broker::FULL,
    &store::CLOCK,
    &store::HELD,
    &store::OPEN,
    &store::LOCKED,
    &broker::FLOOD,
    &broker::SLOW,
];

/// Compares a file with what it must be, or writes it if `OUTBOX_WRITE_DOCS` is set.
fn is_in(path: &str, change: impl FnOnce(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let is = fs::read_to_string(&path).unwrap_or_default();
    let must_be = change(&is);
    if env::var_os("OUTBOX_WRITE_DOCS").is_some() {
        fs::write(&path, must_be).unwrap();
    } else {
        let name = path.display();
        assert!(
            is == must_be,
            "{name} is old: run this test with OUTBOX_WRITE_DOCS=1"
        );
    }
}

/// promtool finds out which alerts fire (`.ci/packages`), and the tests of the faults whether the series are so.
#[test]
fn the_alerts_of_each_fault_are_tested() {
    is_in("packages/prometheus/faults.test.yml", |_| {
        let mut text = "# The alerts that fire 14 minutes after each fault of docs/operations.md began, and no others. A test of the\n\
                        # command writes this file, and asserts that a relay with the fault has these series.\n\
                        rule_files:\n  - outbox.rules.yml\nevaluation_interval: 1m\n\ntests:\n"
            .to_owned();
        for fault in FAULTS {
            write_test(&mut text, fault);
        }
        text
    });
}

fn write_test(text: &mut String, fault: &Fault) {
    let Fault { name, alerts, .. } = fault;
    writeln!(
        text,
        "  - name: {name}\n    interval: 1m\n    input_series:"
    )
    .unwrap();
    writeln!(
        text,
        "      - {{series: 'up{{job=\"outbox\"}}', values: 1x40}}"
    )
    .unwrap();
    for (series, now) in fault.all_series() {
        let usual = USUAL.iter().find(|(usual, _)| *usual == series);
        let values = values(now, usual.map(|(_, now)| *now));
        let series = series.replace(DESTINATION, "orders");
        writeln!(text, "      - {{series: '{series}', values: {values}}}").unwrap();
    }
    let expression = "count by (alertname) (ALERTS{alertstate=\"firing\"})";
    writeln!(
        text,
        "    promql_expr_test:\n      - expr: {expression}\n        eval_time: 14m"
    )
    .unwrap();
    if !alerts.is_empty() {
        writeln!(text, "        exp_samples:").unwrap();
    }
    for alert in *alerts {
        writeln!(
            text,
            "          - {{labels: '{{alertname=\"{alert}\"}}', value: 1}}"
        )
        .unwrap();
    }
    text.push('\n');
}

/// The values of 40 minutes. The fault starts after the first minute.
fn values(now: Now, usual: Option<Now>) -> String {
    match (now, usual) {
        (Is(value), Some(Is(usual))) => format!("{usual} {value}x40"),
        (Is(value), _) => format!("0 {value}x40"),
        (Grows, _) => "0+60x40".to_owned(),
        // Alerts must not need the rare growth.
        (Stays | Seldom, _) => "0x40".to_owned(),
        (Nan, _) => ["NaN"; 40].join(" "),
    }
}

#[test]
fn the_operations_guide_has_each_fault() {
    is_in("docs/operations.md", |guide| {
        let (before, rest) = guide.split_once(HEAD).expect("the head of the table");
        let (_, after) = rest.split_once(END).expect("the end of the table");
        let mut table = String::new();
        for fault in FAULTS {
            write_row(&mut table, fault);
        }
        format!("{before}{HEAD}{table}{END}{after}")
    });
}

const HEAD: &str = "| fault | `/readyz` | `/healthz` | metrics | alerts | first line of `outbox status` | `outbox doctor` |\n|---|---|---|---|---|---|---|\n";
const END: &str = "\n<!-- The rows above are written by the tests of the command. -->\n";

fn write_row(table: &mut String, fault: &Fault) {
    let words = |words: &[&str]| match words {
        [] => "nothing".to_owned(),
        words => words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let health = match fault.health {
        [] => "200".to_owned(),
        some => format!("503: {}", words(some)),
    };
    let Fault {
        name,
        ready,
        status,
        ..
    } = fault;
    let (alerts, doctor) = (words(fault.alerts), words(fault.doctor));
    let metrics = metrics(fault.series);
    writeln!(
        table,
        "| {name} | {ready} | {health} | {metrics} | {alerts} | `{status}` | {doctor} |"
    )
    .unwrap();
}

/// The series that change, without their labels except the kind.
fn metrics(series: &[(&str, Now)]) -> String {
    let changed = series.iter().filter_map(|(series, now)| {
        let (name, labels) = series.split_once('{')?;
        let kind = labels.split_once("kind=");
        let kind = kind.map_or(String::new(), |(_, kind)| format!("{{kind={kind}"));
        Some(match now {
            Is(value) => format!("`{name}{kind}` {value}"),
            Grows => format!("`{name}` grows"),
            Nan => return None,
            Stays | Seldom => format!("`{name}` stays"),
        })
    });
    let mut changed: Vec<String> = changed.collect();
    if series.iter().any(|(_, now)| matches!(now, Nan)) {
        changed.push("the other gauges NaN".to_owned());
    }
    if changed.is_empty() {
        changed.push("as usual".to_owned());
    }
    changed.join(", ")
}
