//! A server process that ends when its owner ends, also by SIGKILL.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs the server's command, which follows three arguments. A line on the standard input kills the
/// server or runs it again. When the owner closes the standard input or ends, the script sends the
/// signal to the server and removes the folder.
///
/// The server is stopped before its children are killed, because it would start new ones. The script
/// then waits for the end of the children, because PostgreSQL does not start while a child of the
/// killed server still uses the data.
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

/// A server process and the shell that waits for the end of their owner.
#[derive(Debug)]
pub(crate) struct Supervised(Child);

impl Supervised {
    /// Starts `command` in a new process group, so that Ctrl-C reaches the owner and not the server.
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

    /// Kills the server and its children with SIGKILL.
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
        // The supervisor ends in any case, and no caller can handle the error.
        let _ = self.0.wait();
    }
}
