//! Why a test has no server.

/// Why no server can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server that the environment names does not answer.
    #[error("the server of {variable} does not answer at {address}")]
    Silent {
        /// The variable.
        variable: &'static str,
        /// Host and port, without the name and password of the user.
        address: String,
        /// Why no connection was made.
        source: std::io::Error,
    },
    /// The value in the environment is not the URL of a server.
    #[error("{variable} must be a URL such as {example}")]
    NoUrl {
        /// The variable.
        variable: &'static str,
        /// A valid URL.
        example: &'static str,
    },
    /// The environment names no server, and none is installed.
    #[error("no {name} for the tests: install {package} ({programs}), or set {variable}")]
    NotInstalled {
        /// The server.
        name: &'static str,
        /// Its package in Homebrew on macOS, else in Debian.
        package: &'static str,
        /// The programs that are missing.
        programs: String,
        /// The variable that can name a server.
        variable: &'static str,
    },
    /// An installed server does not start.
    #[error("{name} does not start: {log}")]
    DoesNotStart {
        /// The server.
        name: &'static str,
        /// The end of its log.
        log: String,
    },
    /// The program that runs the tests cannot bring a server that a test asks for.
    #[error("{reason}")]
    NotBrought {
        /// What to install or to set.
        reason: String,
    },
    /// `rabbitmqctl` fails.
    #[error("rabbitmqctl {command} fails: {output}")]
    Control {
        /// The first argument.
        command: String,
        /// What it printed.
        output: String,
    },
    /// A certificate cannot be made.
    #[cfg(feature = "tls")]
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// A folder or a process cannot be made.
    #[error("cannot start a server")]
    Io(#[from] std::io::Error),
}
