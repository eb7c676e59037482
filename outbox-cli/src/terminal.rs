//! What a person sees: stored text must not steer the terminal, nor look like lines of ours.

use crate::failure::Failure;
use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};

/// Writes a line of data to stdout. Unlike `println!` it fails when the reader has gone.
pub(crate) fn print(line: impl Display) -> Result<(), Failure> {
    write(format_args!("{line}\n"))
}

/// Writes a part of a line of data to stdout.
pub(crate) fn write(text: impl Display) -> Result<(), Failure> {
    let mut out = io::stdout();
    let written = write!(out, "{text}").and_then(|()| out.flush());
    written.map_err(Failure::of_stdout)
}

/// `1 dead letter`, `2 dead letters`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}

/// The text on one line.
pub(crate) fn line(text: &str) -> String {
    escaped(text, |_| false)
}

/// The text with its line breaks and tabs.
pub(crate) fn block(text: &str) -> String {
    escaped(text, |character| matches!(character, '\n' | '\t'))
}

/// Shows what a terminal would obey as `\u{1b}`.
fn escaped(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) && !keep(character) {
            // Writing to a string cannot fail.
            let _ = write!(safe, "{}", character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// Control characters, and those that break a line or turn its direction.
fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_and_the_rest_is_kept() {
        assert_eq!(line("a\x1b[2Jb\r\n\t"), "a\\u{1b}[2Jb\\r\\n\\t");
        assert_eq!(
            block("{\n\t\"é\": \"\x07\u{9b}\"\r}"),
            "{\n\t\"é\": \"\\u{7}\\u{9b}\"\\r}"
        );
        assert_eq!(line("\u{202e}txt"), "\\u{202e}txt");
        assert_eq!(line("größer 日本 \\n"), "größer 日本 \\n");
    }
}
