//! An HTTP endpoint, whose requests are read back from its file.

use super::{Broker, CALL, Process};
use async_trait::async_trait;
use outbox_core::{Event, Transport};
use outbox_transport_http::reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use outbox_transport_http::{HttpConfig, HttpTransport, read};
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

/// A program with one endpoint, which is built with the tests. Bodies have at most 1 MiB.
#[derive(Debug)]
pub struct Endpoint {
    folder: TempDir,
    url: String,
    program: Child,
}

/// Starts the program at an address, and returns where it listens.
fn start(address: &str, folder: &Path) -> Result<(Child, String), Box<dyn Error + Send + Sync>> {
    let mut program = Command::new(program()?)
        .arg(address)
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut address = String::new();
    if let Some(stdout) = program.stdout.take() {
        BufReader::new(stdout).read_line(&mut address)?;
    }
    Ok((program, address.trim_end().to_owned()))
}

/// The tests are in `target/debug/deps`, and the programs one folder above.
fn program() -> Result<PathBuf, Box<dyn Error + Send + Sync>> {
    let tests = std::env::current_exe()?;
    let folder = tests.parent().and_then(Path::parent);
    Ok(folder.ok_or("no folder")?.join("endpoint"))
}

impl Process for Endpoint {
    fn url(&self) -> &str {
        &self.url
    }

    fn kill(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.program.kill()?;
        self.program.wait()?;
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let address = self.url.trim_start_matches("http://");
        let (program, _) = start(address, self.folder.path())?;
        self.program = program;
        Ok(())
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // It may be killed already.
        drop(self.kill());
    }
}

#[async_trait]
impl Broker for Endpoint {
    const REFUSAL: &'static str = "413 Payload Too Large";

    async fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let (program, address) = start("127.0.0.1:0", folder.path()).expect("started");
        Self {
            folder,
            url: format!("http://{address}"),
            program,
        }
    }

    async fn create(&self) {
        fs::write(self.folder.path().join("exists"), "").expect("written");
    }

    fn transport(&self) -> Arc<dyn Transport> {
        let config = HttpConfig::from_url(&format!("{}/orders", self.url)).expect("a URL");
        let loopback = "127.0.0.0/8".parse().expect("a network");
        let config = config.allow_networks([loopback]).call_timeout(CALL);
        Arc::new(HttpTransport::open(config).expect("opened"))
    }

    fn server(&mut self) -> &mut dyn Process {
        self
    }

    async fn received(&self) -> Vec<Event> {
        let kept = fs::read(self.folder.path().join("requests")).expect("read");
        let (mut rest, mut events) = (&kept[..], Vec::new());
        // The last request may be incomplete.
        while let Some((head, all, bytes)) = lengths(rest) {
            let Some((request, behind)) = bytes.split_at_checked(all) else {
                break;
            };
            let (head, body) = request.split_at(head);
            events.push(read(&headers(head), body.to_vec()).expect("an event"));
            rest = behind;
        }
        events
    }
}

fn lengths(bytes: &[u8]) -> Option<(usize, usize, &[u8])> {
    let (head, rest) = bytes.split_first_chunk()?;
    let (all, rest) = rest.split_first_chunk()?;
    let [head, all] = [head, all].map(|length| u64::from_le_bytes(*length));
    Some((head.try_into().ok()?, all.try_into().ok()?, rest))
}

fn headers(head: &[u8]) -> HeaderMap {
    let head = std::str::from_utf8(head).expect("text");
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let header = |(name, value): (&str, &str)| {
        let name: HeaderName = name.parse().expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    };
    lines.map(header).collect()
}
