//! Brings a server when a test first asks for it.

use crate::{Brought, bring};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use test_servers::Kind;

type Servers = HashMap<Kind, Result<Brought, String>>;

/// Answers the questions of tests. When it is dropped, the servers that it started are stopped.
pub(crate) struct OnDemand {
    address: SocketAddr,
    servers: Arc<Mutex<Servers>>,
}

impl OnDemand {
    pub(crate) fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let servers = Arc::<Mutex<Servers>>::default();
        let shared = Arc::clone(&servers);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // The test that asked reports that it has no answer.
                let _ = answer(&stream, &shared);
            }
        });
        Ok(Self { address, servers })
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for OnDemand {
    fn drop(&mut self) {
        // Waits for a server that is just starting.
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.clear();
    }
}

fn answer(mut stream: &TcpStream, servers: &Mutex<Servers>) -> io::Result<()> {
    let mut question = String::new();
    BufReader::new(stream).read_line(&mut question)?;
    let asked = |kind: &Kind| kind.is_on_demand() && kind.variable() == question.trim_end();
    let Some(kind) = Kind::ALL.into_iter().find(asked) else {
        return stream.write_all(b"no server of this name\n");
    };
    let mut servers = servers.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = match servers.entry(kind).or_insert_with(|| bring(kind)) {
        Ok(server) => format!("ok {}\n", server.url()),
        Err(reason) => format!("no {reason}\n"),
    };
    drop(servers);
    stream.write_all(answer.as_bytes())
}
