//! How a RabbitMQ server is started, apart from the one of the machine.

use crate::launch::{Plan, Process, greets, name_of};
use crate::{Error, Kind};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The difference between the port of the management API and the port for clients, as in the defaults
/// of RabbitMQ. It is the same for servers in containers.
pub const MANAGEMENT: u16 = 10_000;

/// The difference between the port for other nodes and for `rabbitmqctl`, and the port for clients.
const NODES: u16 = 20_000;

/// The differences between its other ports and the port for clients.
pub(crate) const DISTANCES: [u16; 2] = [MANAGEMENT, NODES];

/// A port at which no Erlang port mapper listens, so that the server registers at none.
const NO_MAPPER: u16 = 1;

/// The URL of the management API of a RabbitMQ that the tests use, without a path. It is on
/// the same host, its port is 10000 above, and it has the same user and password.
///
/// # Panics
///
/// If `url` is not the URL of a server.
#[must_use]
pub fn management(url: &str) -> String {
    let example = Kind::RabbitMq.local(5672);
    management_of(url).unwrap_or_else(|| panic!("the URL of RabbitMQ must be such as {example}"))
}

fn management_of(url: &str) -> Option<String> {
    let address = Kind::RabbitMq.address(url)?;
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse::<u16>().ok()?.checked_add(MANAGEMENT)?;
    let (_, rest) = url.split_once("://")?;
    let user = rest.split(['/', '?', '#']).next()?.rsplit_once('@');
    let user = user.map_or("guest:guest", |(user, _)| user);
    Some(format!("http://{user}@{host}:{port}"))
}

/// A separate node with its own name and cookie, and with all files in `folder`. It reads no file of the
/// machine's node. It is killed at the end: an orderly stop would take seconds and keep data that is removed.
pub(crate) fn plan(programs: &Path, folder: &Path, port: u16, config: &str) -> Result<Plan, Error> {
    let management = port + MANAGEMENT;
    let settings = format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\nmanagement.tcp.ip = 127.0.0.1\n\
         management.tcp.port = {management}\n{config}\n"
    );
    fs::write(folder.join("rabbitmq.conf"), settings)?;
    fs::write(folder.join("enabled_plugins"), "[rabbitmq_management].\n")?;
    let mut command = environment(folder, port);
    // The script then becomes the server and does not start it as a child.
    command.push("RUNNING_UNDER_SYSTEMD=true".to_owned());
    command.push(format!(
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-sname {} -kernel inet_dist_use_interface {{127,0,0,1}}",
        node(folder)
    ));
    command.push(
        programs
            .join("rabbitmq-server")
            .to_string_lossy()
            .into_owned(),
    );
    Ok(Plan {
        command,
        signal: "KILL",
        answers: |_, folder, port| greets(folder, port, b"AMQP\0\0\x09\x01").unwrap_or(false),
    })
}

/// Runs `rabbitmqctl` on the only node.
pub(crate) fn control(processes: &[Process], arguments: &[&str]) -> Result<String, Error> {
    let [process] = processes else {
        return Err(std::io::Error::other("not a RabbitMQ").into());
    };
    let environment = environment(process.folder(), process.port());
    let output = Command::new(&environment[0])
        .args(&environment[1..])
        // It listens at no port: that of the node is in use.
        .arg("RABBITMQ_CTL_ERL_ARGS=-dist_listen false")
        .arg(process.programs().join("rabbitmqctl"))
        .args(arguments)
        .output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(Error::Control {
        command: arguments.first().copied().unwrap_or_default().to_owned(),
        output: text(&output.stderr),
    })
}

fn node(folder: &Path) -> String {
    format!("{}@localhost", name_of(folder))
}

/// The beginning of a command that runs the rest with the environment of the node and nothing else.
/// The node has a fixed port for other nodes, so that it needs no Erlang port mapper (epmd): none is
/// started, and that of the machine is not asked.
fn environment(folder: &Path, port: u16) -> Vec<String> {
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = vec!["env".to_owned(), "-i".to_owned()];
    for (name, value) in [
        ("PATH", path),
        ("LANG", "C.UTF-8".to_owned()),
        ("HOME", file("")),
        ("RABBITMQ_NODENAME", node(folder)),
        ("RABBITMQ_CONF_ENV_FILE", file("rabbitmq-env.conf")),
        ("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf")),
        ("RABBITMQ_CONFIG_FILES", file("conf.d")),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", file("advanced.config")),
        ("RABBITMQ_GENERATED_CONFIG_DIR", file("generated")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins")),
        ("RABBITMQ_MNESIA_BASE", file("data")),
        ("RABBITMQ_LOG_BASE", file("logs")),
        ("RABBITMQ_LOGS", "-".to_owned()),
        ("ERL_EPMD_PORT", NO_MAPPER.to_string()),
        ("ERL_CRASH_DUMP_SECONDS", "0".to_owned()),
        (
            "ERL_ZFLAGS",
            format!("-start_epmd false -erl_epmd_port {}", port + NODES),
        ),
    ] {
        command.push(format!("{name}={value}"));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_management_api_has_the_user_and_the_host_of_the_server() {
        let url = management("amqp://me:secret@mq.example:6000/shop?x=1");
        assert_eq!(url, "http://me:secret@mq.example:16000");
        let default = management("amqp://mq.example");
        assert_eq!(default, "http://guest:guest@mq.example:15672");
    }
}
