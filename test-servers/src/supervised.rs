//! A server process that ends with its owner, however that ends.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs the command that follows its three arguments. The owner holds the other end of its
/// standard input: when that closes, by a drop or by the owner's death, the server gets the signal
/// and the folder goes. Before that each line kills the server, or runs it again. It is stopped
/// while its children are killed, as it would bring new ones; they are waited for until they hold
/// nothing, as a child that still ends keeps a PostgreSQL from starting on the same data.
const SUPERVISE: &str = r#"
signal=$1 folder=$2 log=$3
shift 3
"$@" </dev/null >"$log" 2>&1 &
server=$!
while read -r line; do
    if [ "$line" = kill ]; then
        kill -s STOP "$server"
        children=$(pgrep -d , -P "$server")
        pkill -KILL -P "$server"
        kill -s KILL "$server"
        wait "$server"
        while ps -o stat= -p "$children" | grep -q '^[^Z]'; do sleep 0.01; done
    else
        "$@" </dev/null >>"$log" 2>&1 &
        server=$!
    fi
    echo done
done
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
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(Self)
    }

    /// Kills the server and its children as a power cut would: nothing is flushed.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.ask("kill\n")
    }

    /// Runs the command again.
    pub(crate) fn run_again(&mut self) -> io::Result<()> {
        self.ask("run\n")
    }

    fn ask(&mut self, order: &str) -> io::Result<()> {
        let (Some(orders), Some(answers)) = (&mut self.0.stdin, &mut self.0.stdout) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        orders.write_all(order.as_bytes())?;
        answers.read_exact(&mut [0; b"done\n".len()])
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // The supervisor has ended either way, or will: no caller needs the error.
        let _ = self.0.wait();
    }
}
