//! Installs a server with the package manager of the system.

use std::process::{Command, Stdio};
use test_servers::Kind;

/// Installs the server with apt-get, as root or with sudo without a password, or with brew. `None` if
/// neither apt-get nor brew is installed.
pub(crate) fn install(kind: Kind) -> Option<Result<(), String>> {
    let (debian, homebrew) = kind.packages();
    if works(&["apt-get", "--version"]) {
        let rights: &[&str] = if root() {
            &[]
        } else if works(&["sudo", "-n", "true"]) {
            &["sudo", "-n"]
        } else {
            return Some(Err(format!(
                "apt-get needs root: run `sudo apt-get install {debian}`"
            )));
        };
        return Some(apt_get(rights, debian));
    }
    if works(&["brew", "--version"]) {
        return Some(run(&["brew", "install", homebrew]));
    }
    None
}

/// A package would start its server at once. The file `policy-rc.d` prevents that during the
/// installation.
fn apt_get(rights: &[&str], package: &str) -> Result<(), String> {
    let shell = |script| run(&[rights, &["sh", "-c", script]].concat());
    let install = format!(
        "set -e; export DEBIAN_FRONTEND=noninteractive
         policy=/usr/sbin/policy-rc.d
         if [ ! -e $policy ]; then
             trap 'rm -f $policy' EXIT
             printf '#!/bin/sh\\nexit 101\\n' >$policy
             chmod +x $policy
         fi
         apt-get update -q
         apt-get install -q -y --no-install-recommends {package}"
    );
    shell(&install)
}

fn root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

fn works(command: &[&str]) -> bool {
    Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs a command and shows its output to the user.
fn run(command: &[&str]) -> Result<(), String> {
    let name = command.join(" ");
    let name = name.lines().next().unwrap_or_default();
    match Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
    {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{name}: {status}")),
        Err(error) => Err(format!("{name}: {error}")),
    }
}
