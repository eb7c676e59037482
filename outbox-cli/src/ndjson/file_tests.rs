use super::super::Ndjson;
use super::*;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outbox_conformance::transport::{RemovableDestination, TransportFixture, order};
use outbox_core::{Event, EventId, PublishError, PublishErrorKind, Transport};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use tempfile::TempDir;

/// A file in a new folder, with one writer because of its lock.
struct FileFixture {
    path: PathBuf,
    transport: Arc<Ndjson<LineFile>>,
    folder: TempDir,
}

impl FileFixture {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let logs = folder.path().join("logs");
        std::fs::create_dir(&logs).expect("a folder");
        let path = logs.join("events.ndjson");
        let transport = Arc::new(Ndjson::new(LineFile::open(&path).expect("a file")));
        Self {
            path,
            transport,
            folder,
        }
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().expect(name).to_owned()
}

fn parse(line: &str) -> Event {
    let value: Value = serde_json::from_str(line).expect("a line of JSON");
    let raw: std::collections::HashMap<String, Box<RawValue>> =
        serde_json::from_str(line).expect("an object");
    let payload = match raw.get("payload") {
        Some(json) => json.get().as_bytes().to_vec(),
        None => STANDARD
            .decode(text(&value, "payload_base64"))
            .expect("base64"),
    };
    let mut event = Event::new(text(&value, "type"), payload)
        .id(text(&value, "id").parse().expect("an id"))
        .content_type(text(&value, "content_type"))
        .created_at(humantime::parse_rfc3339(&text(&value, "created_at")).expect("a time"));
    event.headers = serde_json::from_value(value["headers"].clone()).expect("headers");
    event.ordering_key = value["key"].as_str().map(str::to_owned);
    event
}

#[async_trait]
impl TransportFixture for FileFixture {
    async fn transport(&self) -> Arc<dyn Transport> {
        self.transport.clone()
    }

    async fn received(&self) -> Vec<Event> {
        std::fs::read_to_string(&self.path)
            .expect("the file")
            .lines()
            .map(parse)
            .collect()
    }
}

/// The folder of the file.
#[async_trait]
impl RemovableDestination for FileFixture {
    async fn remove(&self, _: &Event) {
        // In one step, as a call that was dropped may still write.
        let (logs, gone) = (self.path.parent().expect("a folder"), EventId::new());
        std::fs::rename(logs, self.folder.path().join(gone.to_string())).expect("removed");
    }

    async fn restore(&self, _: &Event) {
        std::fs::create_dir(self.path.parent().expect("a folder")).expect("created");
    }
}

outbox_conformance::transport_suite!(
    file,
    FileFixture::new(),
    delivery,
    cancellation,
    missing,
    checks
);

/// What is wrong with the path, for the events and for a check.
async fn kind(transport: &Ndjson<impl Sink>) -> PublishErrorKind {
    let answers = transport.publish(&[Event::new("x", "")]).await;
    let kind = answers[0].as_ref().unwrap_err().kind();
    let problems = transport.check().await.problems;
    let kinds: Vec<_> = problems.iter().map(PublishError::kind).collect();
    assert_eq!(kinds, [kind]);
    kind
}

#[tokio::test]
async fn a_path_that_is_wrong_is_misconfigured_and_a_lock_may_pass() {
    let FileFixture {
        path,
        transport,
        folder: _folder,
    } = FileFixture::new();
    let logs = path.parent().unwrap();
    std::fs::remove_dir_all(logs).unwrap();
    assert_eq!(kind(&transport).await, PublishErrorKind::Misconfigured);
    std::fs::write(logs, "not a folder").unwrap();
    assert_eq!(kind(&transport).await, PublishErrorKind::Misconfigured);
    std::fs::remove_file(logs).unwrap();
    std::fs::create_dir_all(&path).unwrap();
    assert_eq!(kind(&transport).await, PublishErrorKind::Misconfigured);
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, "my notes").unwrap();
    assert_eq!(kind(&transport).await, PublishErrorKind::Misconfigured);
    std::fs::remove_file(&path).unwrap();
    let other = LineFile::open(&path).unwrap();
    assert_eq!(kind(&transport).await, PublishErrorKind::Unavailable);
    drop(other);
    assert!(transport.publish(&[Event::new("x", "")]).await[0].is_ok());
}

#[test]
fn a_call_may_hold_many_events_of_a_key() {
    outbox_conformance::run(async || {
        order::events_of_one_key_in_a_call_keep_their_order(FileFixture::new()).await;
    });
}

#[test]
fn the_torn_line_of_a_killed_relay_is_cut() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("events.ndjson");
    let long = "x".repeat(20_000);
    for torn in ["{", "{\"id\":\"0190", &format!("{{\"id\":\"{long}")] {
        std::fs::write(&path, format!("{{\"id\":\"whole\"}}\n{torn}")).unwrap();
        drop(LineFile::open(&path).unwrap());
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\"id\":\"whole\"}\n"
        );
    }
}

#[test]
fn a_file_that_is_not_of_a_relay_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "one\nmy notes").unwrap();
    let failure = LineFile::open(&path).unwrap_err().to_string();
    assert!(failure.contains("notes.txt"), "{failure}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\nmy notes");
}

#[test]
fn a_second_relay_on_one_file_is_refused() {
    let fixture = FileFixture::new();
    let failure = LineFile::open(&fixture.path).unwrap_err().to_string();
    assert!(failure.contains("another relay"), "{failure}");
}

/// Reads the file and removes it, as something that rotates it may.
fn take(path: &Path, aside: &Path) -> String {
    if std::fs::rename(path, aside).is_err() {
        return String::new();
    }
    let text = std::fs::read_to_string(aside).expect("the file");
    std::fs::remove_file(aside).expect("removed");
    text
}

#[test]
fn a_line_that_is_answered_is_in_the_file_that_had_the_name_then() {
    const LINES: usize = 100;
    // Fewer than `MOVES`, after which a write fails.
    const TAKES_OF_A_LINE: usize = 3;
    let folder = TempDir::new().unwrap();
    let (path, aside) = (folder.path().join("events"), folder.path().join("aside"));
    let mut file = LineFile::open(&path).unwrap();
    let (answered, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (written, taken) = std::thread::scope(|scope| {
        let taker = scope.spawn(|| {
            let (mut taken, mut line, mut takes) = (String::new(), 0, 0);
            while !ended.load(SeqCst) {
                let now = answered.load(SeqCst);
                if now != line {
                    (line, takes) = (now, 0);
                }
                if takes == TAKES_OF_A_LINE || !path.exists() {
                    std::thread::yield_now();
                    continue;
                }
                taken += &take(&path, &aside);
                takes += 1;
            }
            taken
        });
        let written = (0..LINES).try_for_each(|number| {
            file.write(format!("{{\"id\":\"{number}\"}}\n").as_bytes())?;
            answered.fetch_add(1, SeqCst);
            Ok::<_, io::Error>(())
        });
        // The taker ends after a failed write too; a panic here would wait for it for ever.
        ended.store(true, SeqCst);
        (written, taker.join().unwrap())
    });
    written.expect("every line is written");
    let all = taken + &take(&path, &aside);
    let lines: BTreeSet<&str> = all.lines().collect();
    assert_eq!(lines.len(), LINES);
}

#[test]
fn a_file_that_is_removed_renamed_or_truncated_gets_the_next_lines_under_its_name() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path().join("logs");
    let path = folder.join("events");
    std::fs::create_dir(&folder).unwrap();
    let mut file = LineFile::open(&path).unwrap();
    let changes: &[&dyn Fn()] = &[
        &|| std::fs::remove_file(&path).unwrap(),
        &|| std::fs::rename(&path, folder.join("events.1")).unwrap(),
        &|| std::fs::write(&path, "").unwrap(),
        &|| std::fs::write(&path, "{\"id\":\"torn").unwrap(),
        &|| {
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "{\"id\":\"torn").unwrap();
        },
    ];
    for (number, change) in changes.iter().enumerate() {
        file.write(b"{\"id\":\"before\"}\n").unwrap();
        change();
        file.write(b"{\"id\":\"after\"}\n").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("{\"id\":\"after\"}\n"), "{number}: {text}");
        assert!(
            text.lines().all(|line| line.ends_with('}')),
            "{number}: {text}"
        );
    }
}

#[test]
fn a_folder_that_is_removed_fails_each_write_until_it_is_back() {
    let folder = TempDir::new().unwrap();
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let mut file = LineFile::open(&logs.join("events")).unwrap();
    std::fs::remove_dir_all(&logs).unwrap();
    let error = file.write(b"{\"id\":\"1\"}\n").unwrap_err().to_string();
    assert!(error.contains("logs/events"), "{error}");
    std::fs::create_dir(&logs).unwrap();
    file.write(b"{\"id\":\"1\"}\n").unwrap();
    let text = std::fs::read_to_string(logs.join("events")).unwrap();
    assert_eq!(text, "{\"id\":\"1\"}\n");
}

#[test]
fn a_file_that_another_relay_has_put_in_the_place_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("events");
    let mut file = LineFile::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let other = LineFile::open(&path).unwrap();
    let error = file.write(b"{\"id\":\"1\"}\n").unwrap_err().to_string();
    assert!(error.contains("another relay"), "{error}");
    drop(other);
    file.write(b"{\"id\":\"1\"}\n").unwrap();
}
