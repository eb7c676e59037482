use super::super::Ndjson;
use super::*;
use outbox_core::{Event, PublishErrorKind, Transport};
use std::sync::{Arc, Mutex};

/// Takes so many bytes, then fails once, then takes all.
struct Full {
    room: Option<usize>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match &mut self.room {
            Some(0) => {
                self.room = None;
                return Err(ErrorKind::StorageFull.into());
            }
            Some(room) => {
                let count = bytes.len().min(*room);
                *room -= count;
                count
            }
            None => bytes.len(),
        };
        self.written.lock().unwrap().extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_write_that_fails_at_any_byte_leaves_no_torn_line_in_the_middle() {
    let lines = "{\"id\":1}\n{\"id\":2}\n";
    for room in 0..lines.len() {
        let written = Arc::default();
        let mut stream = LineStream::stdout();
        stream.open = Some(Box::new(Full {
            room: Some(room),
            written: Arc::clone(&written),
        }));
        stream.write(lines.as_bytes()).unwrap_err();
        stream.write(lines.as_bytes()).unwrap();
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with(lines), "{room}: {text}");
        let is_whole = |line: &str| line.starts_with('{') && line.ends_with('}');
        assert!(text.lines().all(is_whole), "{room}: {text}");
    }
}

#[tokio::test]
async fn a_full_disk_may_pass_and_a_missing_node_is_misconfigured() {
    let event = [Event::new("x", "")];
    for (path, expected) in [
        ("/dev/full", PublishErrorKind::Unavailable),
        ("/dev/none", PublishErrorKind::Misconfigured),
    ] {
        let transport = Ndjson::new(LineStream::node(path.into()));
        let answers = transport.publish(&event).await;
        assert_eq!(answers[0].as_ref().unwrap_err().kind(), expected, "{path}");
    }
    let found = Ndjson::new(LineStream::node("/dev/none".into()))
        .check()
        .await;
    assert_eq!(found.problems[0].kind(), PublishErrorKind::Misconfigured);
    let found = Ndjson::new(LineStream::node("/dev/full".into()))
        .check()
        .await;
    assert!(found.problems.is_empty());
}
