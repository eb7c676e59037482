//! How a NATS server is started.

use crate::Error;
use crate::launch::{Plan, greets, name_of};
use std::fs;
use std::path::Path;

/// A server with JetStream. Its name, which it sends to each client, is that of its folder.
pub(crate) fn plan(programs: &Path, folder: &Path, port: u16, config: &str) -> Result<Plan, Error> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let file = folder.join("nats.conf");
    fs::write(&file, config)?;
    // The command line has precedence over the file.
    let command = [
        text(&programs.join("nats-server")),
        "--addr=127.0.0.1".to_owned(),
        format!("--port={port}"),
        format!("--name={}", name_of(folder)),
        format!("--config={}", text(&file)),
        "--jetstream".to_owned(),
        format!("--store_dir={}", text(&folder.join("data"))),
    ];
    Ok(Plan {
        command: command.to_vec(),
        signal: "TERM",
        answers: |_, folder, port| greets(folder, port, b"").unwrap_or(false),
    })
}
