//! Aligned columns.

use crate::terminal::line;
use humantime::format_duration;
use std::time::Duration;

/// The most characters of a value where no terminal limits the line.
const WIDEST: usize = 300;

/// Rows of text under headings, as wide as the terminal.
pub(super) struct Table {
    title: &'static str,
    rows: Vec<Vec<String>>,
    /// Rows that are not shown.
    more: usize,
}

impl Table {
    /// A table with headings; its last column may be cut.
    pub(super) fn new(title: &'static str, headings: &[&str]) -> Self {
        Self {
            title,
            rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()],
            more: 0,
        }
    }

    /// Adds up to `limit` rows.
    pub(super) fn rows<T>(
        mut self,
        items: &[T],
        limit: usize,
        row: impl Fn(&T) -> Vec<String>,
    ) -> Self {
        let values = |item| row(item).iter().map(|value| line(value)).collect();
        self.rows.extend(items.iter().take(limit).map(values));
        self.more = items.len().saturating_sub(limit);
        self
    }

    /// The text of the table; empty without a row.
    pub(super) fn text(&self, width: Option<usize>) -> String {
        if self.rows.len() == 1 {
            return String::new();
        }
        let columns = self.rows[0].len();
        let wide = |column: usize| {
            let values = self.rows.iter().map(|row| row[column].chars().count());
            values.max().unwrap_or_default()
        };
        let mut widths: Vec<usize> = (0..columns).map(wide).collect();
        fit(&mut widths, width.map(|width| width.saturating_sub(2)));
        let mut text = format!("\n{}\n", self.title);
        for row in &self.rows {
            let cells = row.iter().zip(&widths);
            let cells: Vec<String> = cells.map(|(cell, width)| padded(cell, *width)).collect();
            text.push_str("  ");
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        if self.more > 0 {
            let more = self.more;
            text.extend(["  and ", &more.to_string(), " more (--limit)\n"]);
        }
        text
    }
}

/// Makes the widest columns narrower until they fit, but none narrower than its fair share.
fn fit(widths: &mut [usize], most: Option<usize>) {
    for width in widths.iter_mut() {
        *width = (*width).min(WIDEST);
    }
    let Some(most) = most else { return };
    let gaps = 2 * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > most {
        let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > 8) else {
            return;
        };
        *widest -= 1;
    }
}

/// The text with blanks up to the width, or cut with an ellipsis.
fn padded(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return format!("{text}{}", " ".repeat(width - length));
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A time in its two largest units, such as `3min 20s` or `2days 4h`.
pub(super) fn age(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        return format!("{}ms", duration.as_millis());
    }
    let text = format_duration(Duration::from_secs(duration.as_secs())).to_string();
    let units = text.split(' ').map(|unit| match unit.strip_suffix('m') {
        Some(minutes) => format!("{minutes}min"),
        None => unit.to_owned(),
    });
    units.take(2).collect::<Vec<String>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_its_two_largest_units() {
        let ages = [(0, 7), (3, 900), (200, 0), (100_000, 0)];
        let ages = ages.map(|(seconds, millis)| {
            age(Duration::from_secs(seconds) + Duration::from_millis(millis))
        });
        assert_eq!(ages, ["7ms", "3s", "3min 20s", "1day 3h"]);
    }

    #[test]
    fn a_table_is_aligned_and_fits_the_terminal() {
        let rows = [
            ("a", "short"),
            ("größer", "a text that is longer than the line\x1b"),
        ];
        let row = |row: &(&str, &str)| vec![row.0.to_owned(), row.1.to_owned()];
        let table = |limit| Table::new("things", &["KEY", "ERROR"]).rows(&rows, limit, row);
        assert_eq!(
            table(2).text(Some(30)),
            "\nthings\n  KEY     ERROR\n  a       short\n  größer  a text that is long…\n"
        );
        assert_eq!(
            table(1).text(None),
            "\nthings\n  KEY  ERROR\n  a    short\n  and 1 more (--limit)\n"
        );
        assert_eq!(table(0).text(None), "", "a table without rows");
        assert!(table(2).text(None).contains("line\\u{1b}"));
    }
}
