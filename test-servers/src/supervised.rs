//! A server process that ends when its owner ends, also by SIGKILL.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs the server's command, which follows three arguments. A line on the standard input kills,
/// suspends or resumes the server, or runs it again. When the owner closes the standard input or ends,
/// the script sends the signal to the server and removes the folder.
///
/// The server is suspended before its children are killed, because it would start new ones. The script then
/// waits for the end of the children, because PostgreSQL does not start while a child of the killed server
/// still uses the data. A suspended server is resumed at the end, because only then does it receive the signal.
///
/// If the owner ends while the server is suspended, the system sends this process group SIGHUP and SIGCONT.
/// The first would end the script. The second resumes the server, so STOP is sent until it is suspended.
const SUPERVISE: &str = r#"
trap '' HUP
signal=$1 folder=$2 log=$3
shift 3
"$@" </dev/null >"$log" 2>&1 &
server=$!
suspend() {
    kill -s STOP "$server"
    pkill -STOP -P "$server"
    while ps -o stat= -p "$server" | grep -q '^[^TZ]'; do
        kill -s STOP "$server"
        sleep 0.01
    done
}
resume() {
    pkill -CONT -P "$server"
    kill -s CONT "$server"
}
end() {
    suspend
    children=$(pgrep -d , -P "$server")
    pkill -KILL -P "$server"
    kill -s KILL "$server"
    wait "$server"
    while ps -o stat= -p "$children" | grep -q '^[^Z]'; do sleep 0.01; done
}
while read -r order; do
    case $order in
    kill) end ;;
    suspend) suspend ;;
    resume) resume ;;
    run)
        "$@" </dev/null >>"$log" 2>&1 &
        server=$!
        ;;
    esac
    echo done
done
if [ "$signal" = KILL ]; then
    end
else
    kill -s "$signal" "$server"
    resume
    wait "$server"
fi
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

    /// Suspends the server and its children with SIGSTOP.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        self.ask("suspend\n")
    }

    /// Resumes them with SIGCONT.
    pub(crate) fn resume(&mut self) -> io::Result<()> {
        self.ask("resume\n")
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
