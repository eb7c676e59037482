use super::*;
use outbox_conformance::transport::TransportFixture;
use serde_json::Value;
use std::path::PathBuf;
use tempfile::TempDir;

/// A file in a folder of its own, with one writer, as the lock demands.
struct FileFixture {
    path: PathBuf,
    transport: Arc<NdjsonFile>,
    _folder: TempDir,
}

impl FileFixture {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("events.ndjson");
        let transport = Arc::new(open(&path).expect("a file"));
        Self {
            path,
            transport,
            _folder: folder,
        }
    }
}

fn open(path: &std::path::Path) -> Result<NdjsonFile, Failure> {
    NdjsonFile::open(&path.to_string_lossy())
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

outbox_conformance::transport_suite!(file, FileFixture::new(), delivery);

#[test]
fn the_torn_line_of_a_killed_relay_is_cut() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("events.ndjson");
    let long = "x".repeat(20_000);
    for torn in ["{", "{\"id\":\"0190", &format!("{{\"id\":\"{long}")] {
        std::fs::write(&path, format!("{{\"id\":\"whole\"}}\n{torn}")).unwrap();
        drop(open(&path).unwrap());
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
    let failure = open(&path).unwrap_err().to_string();
    assert!(failure.contains("notes.txt"), "{failure}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\nmy notes");
}

#[test]
fn a_second_relay_on_one_file_is_refused() {
    let fixture = FileFixture::new();
    let failure = open(&fixture.path).unwrap_err().to_string();
    assert!(failure.contains("another relay"), "{failure}");
}
