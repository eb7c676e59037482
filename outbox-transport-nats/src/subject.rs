//! What a subject may be.

use std::borrow::Cow;

/// The longest subject, in bytes. A server closes a connection whose command line is longer than 4096
/// bytes by default, which has the subject, an inbox and two numbers.
pub(crate) const LONGEST: usize = 2000;

/// First parts of subjects that are requests to the server, such as one that deletes a stream.
const RESERVED: [&str; 3] = ["$JS", "$SYS", "_INBOX"];

/// How much of an unusable subject a name of a destination has.
const SHOWN: usize = 100;

/// Why no message can be published to this subject. The server checks little of this itself.
pub(crate) fn unusable(subject: &str) -> Option<String> {
    let required = if subject.len() > LONGEST {
        let length = subject.len();
        return Some(format!(
            "subject is {length} bytes long, but must be 1 to {LONGEST}"
        ));
    } else if subject.split('.').any(str::is_empty) {
        "have no empty part between dots"
    } else if subject.contains(|character: char| character.is_whitespace()) {
        "have no blank"
    } else if subject.contains(char::is_control) {
        "have no control character"
    } else if subject.split('.').any(|part| part == "*" || part == ">") {
        "have no wildcard"
    } else if subject
        .split('.')
        .next()
        .is_some_and(|part| RESERVED.contains(&part))
    {
        "not start with $JS, $SYS or _INBOX"
    } else {
        return None;
    };
    Some(format!("subject is {subject:?}, but must {required}"))
}

/// The name of the destination of events that have this unusable subject. It is not that of the events
/// of the same template that have a usable one, so these do not wait for a person.
pub(crate) fn name(subject: &str) -> Cow<'static, str> {
    let shown: String = subject.chars().take(SHOWN).collect();
    format!("{shown:?}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_that_no_message_can_have_is_named_with_what_it_must_be() {
        for (subject, problem) in [
            ("", "subject is \"\", but must have no empty part"),
            (".a", "no empty part"),
            ("a.", "no empty part"),
            ("a..b", "no empty part"),
            ("a b", "subject is \"a b\", but must have no blank"),
            ("a\tb", "no blank"),
            ("a\r\nPUB b 0\r\n", "no blank"),
            ("a\u{2003}b", "no blank"),
            ("a\0b", "no control character"),
            ("a.*", "no wildcard"),
            (">", "no wildcard"),
            ("a.>.b", "no wildcard"),
            ("$JS.API.STREAM.DELETE.ORDERS", "not start with $JS"),
            ("$SYS.REQ.SERVER.PING", "not start with $JS"),
            ("_INBOX.a", "not start with $JS"),
        ] {
            let found = unusable(subject).unwrap_or_default();
            assert!(found.contains(problem), "{subject:?}: {found}");
        }
        let found = unusable(&"a".repeat(LONGEST + 1)).unwrap_or_default();
        assert_eq!(found, "subject is 2001 bytes long, but must be 1 to 2000");
    }

    #[test]
    fn a_subject_may_have_any_other_character() {
        for subject in [
            "a",
            "a.b",
            "clé.日本",
            "a*b.c>",
            "$x.{y}",
            "$KV.a.b",
            "a.$JS",
            "\"'\\",
        ] {
            assert_eq!(unusable(subject), None, "{subject}");
        }
        assert_eq!(unusable(&"a".repeat(LONGEST)), None);
    }
}
