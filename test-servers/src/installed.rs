//! Servers that are installed on this machine, each started in a temporary folder and on a free port.

use crate::launch::{Plan, Process, Started, free_port, free_ports, launch};
use crate::search::find;
use crate::{Error, Kind, nats, pgbouncer, postmaster, rabbitmq, redis};
use std::path::{Path, PathBuf};

/// How often a start is tried: another process can take the free port before the server does.
const TRIES: usize = 3;

/// A server that this process started. When this value is dropped or the process ends, also by
/// SIGKILL, the server is stopped and its data is removed.
#[derive(Debug)]
pub struct Server {
    url: String,
    processes: Vec<Process>,
}

impl Server {
    /// Starts a server from the first of `folders` that has its programs, and waits until it
    /// answers. The server does not sync its files to the disk, because its data is temporary.
    ///
    /// # Errors
    ///
    /// [`Error::NotInstalled`], [`Error::DoesNotStart`] with the end of its log, [`Error::Io`].
    pub fn start(kind: Kind, folders: &[PathBuf]) -> Result<Self, Error> {
        Self::try_to_start(kind, folders, |programs| match kind {
            Kind::Postgres => one(kind, programs, free_port()?, postmaster::plan),
            Kind::Redis => one(kind, programs, free_port()?, |programs, folder, port| {
                Ok(redis::server(programs, folder, port, &[]))
            }),
            Kind::RedisCluster => redis::cluster(programs),
            Kind::Nats => one(kind, programs, free_port()?, |programs, folder, port| {
                nats::plan(programs, folder, port, "")
            }),
            Kind::RabbitMq => start_rabbitmq(programs, ""),
            Kind::PgBouncer => Err(Error::DoesNotStart {
                name: kind.name(),
                log: "it needs a PostgreSQL server: call start_pgbouncer".to_owned(),
            }),
        })
    }

    /// Starts a Redis on `port`, or on a free port. `settings` are names such as `--requirepass`, each
    /// followed by its value. With `["--appendonly", "yes", "--appendfsync", "always"]` it keeps its
    /// data when it is killed.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_redis(
        folders: &[PathBuf],
        port: Option<u16>,
        settings: &[&str],
    ) -> Result<Self, Error> {
        Self::try_to_start(Kind::Redis, folders, |programs| {
            let port = port.map_or_else(free_port, Ok)?;
            one(Kind::Redis, programs, port, |programs, folder, port| {
                Ok(redis::server(programs, folder, port, settings))
            })
        })
    }

    /// Starts a NATS with JetStream, which keeps its data when it is killed. `config` is the text of its
    /// configuration file, such as `max_payload: 1024`, `authorization { user: me, password: secret }`,
    /// or with NATS 2.10 and newer `jetstream { sync_interval: always }`. Address, port and the folder
    /// of the data are set anyway.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_nats(folders: &[PathBuf], config: &str) -> Result<Self, Error> {
        let kind = Kind::Nats;
        Self::try_to_start(kind, folders, |programs| {
            one(kind, programs, free_port()?, |programs, folder, port| {
                nats::plan(programs, folder, port, config)
            })
        })
    }

    /// Starts a RabbitMQ with the management API, whose URL is [`management`](crate::management) of
    /// its own. It keeps durable queues and persistent messages when it is killed. `config` is added to
    /// its `rabbitmq.conf`, such as `max_message_size = 1024`.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_rabbitmq(folders: &[PathBuf], config: &str) -> Result<Self, Error> {
        Self::try_to_start(Kind::RabbitMq, folders, |programs| {
            start_rabbitmq(programs, config)
        })
    }

    /// Runs `rabbitmqctl` on this RabbitMQ and returns what it prints. It takes about a second.
    /// `["set_vm_memory_high_watermark", "0"]` raises the alarm that blocks publishers, and
    /// `["set_vm_memory_high_watermark", "0.4"]` ends it.
    ///
    /// # Errors
    ///
    /// [`Error::Control`] with what it printed, [`Error::Io`].
    pub fn rabbitmqctl(&self, arguments: &[&str]) -> Result<String, Error> {
        rabbitmq::control(&self.processes, arguments)
    }

    /// Starts a PgBouncer in transaction mode in front of the PostgreSQL server at `postgres`.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_pgbouncer(folders: &[PathBuf], postgres: &str) -> Result<Self, Error> {
        let kind = Kind::PgBouncer;
        Self::try_to_start(kind, folders, |programs| {
            one(kind, programs, free_port()?, |programs, folder, port| {
                pgbouncer::plan(programs, folder, port, postgres)
            })
        })
    }

    /// Starts a streaming standby of this PostgreSQL server.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_standby(&self, folders: &[PathBuf]) -> Result<Self, Error> {
        let kind = Kind::Postgres;
        Self::try_to_start(kind, folders, |programs| {
            one(kind, programs, free_port()?, |programs, folder, port| {
                postmaster::standby(programs, folder, port, &self.url)
            })
        })
    }

    /// Whether one of `folders` has the programs of a server.
    #[must_use]
    pub fn is_installed(kind: Kind, folders: &[PathBuf]) -> bool {
        find(kind.programs(), folders).is_some()
    }

    /// The URL for a client on this machine.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills all its processes with SIGKILL, and returns when they have ended. What they had written
    /// stays in the cache of the operating system, so unsynced files lose nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn kill(&mut self) -> Result<(), Error> {
        for process in &mut self.processes {
            process.kill()?;
        }
        Ok(())
    }

    /// Starts the server again after a [`kill`](Self::kill), on the same port and data, and waits until
    /// it answers.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> Result<(), Error> {
        for process in &mut self.processes {
            process.run_again()?;
        }
        Ok(())
    }

    /// Calls [`kill`](Self::kill) and [`restart`](Self::restart).
    ///
    /// # Errors
    ///
    /// Those of [`restart`](Self::restart).
    pub fn crash(&mut self) -> Result<(), Error> {
        self.kill()?;
        self.restart()
    }

    /// Suspends all its processes with SIGSTOP, and returns when they have stopped. Connections stay
    /// open, new ones are accepted by the operating system, and nothing is answered.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn suspend(&mut self) -> Result<(), Error> {
        for process in &mut self.processes {
            process.suspend()?;
        }
        Ok(())
    }

    /// Resumes all its processes after a [`suspend`](Self::suspend).
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn resume(&mut self) -> Result<(), Error> {
        for process in &mut self.processes {
            process.resume()?;
        }
        Ok(())
    }

    fn try_to_start(
        kind: Kind,
        folders: &[PathBuf],
        start: impl Fn(&Path) -> Result<Started, Error>,
    ) -> Result<Self, Error> {
        let (debian, homebrew) = kind.packages();
        let programs = find(kind.programs(), folders).ok_or_else(|| Error::NotInstalled {
            name: kind.name(),
            package: if cfg!(target_os = "macos") {
                homebrew
            } else {
                debian
            },
            programs: kind.programs().join(", "),
            variable: kind.variable(),
        })?;
        let mut started = start(&programs);
        for _ in 1..TRIES {
            if !matches!(started, Err(Error::DoesNotStart { .. })) {
                break;
            }
            started = start(&programs);
        }
        let (port, processes) = started?;
        Ok(Self {
            url: kind.local(port),
            processes,
        })
    }
}

fn start_rabbitmq(programs: &Path, config: &str) -> Result<Started, Error> {
    let port = free_ports(&rabbitmq::DISTANCES)?;
    one(Kind::RabbitMq, programs, port, |programs, folder, port| {
        rabbitmq::plan(programs, folder, port, config)
    })
}

/// A server that is a single process.
fn one(
    kind: Kind,
    programs: &Path,
    port: u16,
    plan: impl FnOnce(&Path, &Path, u16) -> Result<Plan, Error>,
) -> Result<Started, Error> {
    Ok((port, vec![launch(kind, programs, port, plan)?]))
}
