//! A server process that ends with its owner, however that ends.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs the command that follows its three arguments. The owner holds the other end of its
/// standard input: when that closes, by a drop or by the owner's death, the server gets the signal
/// and the folder goes.
const SUPERVISE: &str = r#"
signal=$1 folder=$2 log=$3
shift 3
"$@" </dev/null >"$log" 2>&1 &
server=$!
while read -r line; do :; done
kill -s "$signal" "$server" 2>/dev/null
wait "$server"
rm -rf "$folder"
"#;

/// A process under a shell that waits for the end of its owner.
#[derive(Debug)]
pub(crate) struct Supervised(Child);

impl Supervised {
    /// Starts `command`. It and its supervisor are a process group of their own, so a Ctrl-C for
    /// the owner's group does not reach them; they end when the owner has.
    pub(crate) fn spawn(
        signal: &str,
        folder: &Path,
        log: &Path,
        command: &[String],
    ) -> io::Result<Self> {
        Command::new("sh")
            .args(["-c", SUPERVISE, "supervise", signal])
            .args([folder, log])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(Self)
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // The supervisor has ended either way, or will: there is nobody to tell.
        let _ = self.0.wait();
    }
}
