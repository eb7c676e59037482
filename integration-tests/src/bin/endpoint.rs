//! An HTTP endpoint that tests kill: `endpoint ADDRESS FOLDER` takes events while the folder has a file `exists`,
//! and appends each request to the file `requests` before it answers. It prints its address.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A larger body is refused.
const LARGEST: usize = 1 << 20;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let [Some(address), Some(folder)] = [arguments.next(), arguments.next()] else {
        return Err(io::Error::other("usage: endpoint ADDRESS FOLDER"));
    };
    let folder = PathBuf::from(folder);
    let requests = folder.join("requests");
    let requests = OpenOptions::new()
        .append(true)
        .create(true)
        .open(requests)?;
    let requests = Arc::new(Mutex::new(requests));
    let listener = TcpListener::bind(address)?;
    println!("{}", listener.local_addr()?);
    for client in listener.incoming() {
        let (client, requests, folder) = (client?, Arc::clone(&requests), folder.clone());
        // A client that goes away ends its thread only.
        thread::spawn(move || serve(&client, &requests, &folder));
    }
    Ok(())
}

fn serve(mut client: &TcpStream, requests: &Mutex<File>, folder: &Path) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    client.set_nodelay(true)?;
    loop {
        let (mut request, mut length) = (Vec::new(), 0);
        loop {
            let start = request.len();
            if reader.read_until(b'\n', &mut request)? == 0 {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&request[start..]);
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let head = request.len();
        request.resize(head + length, 0);
        reader.read_exact(&mut request[head..])?;
        let status = if length > LARGEST {
            "413 Content Too Large"
        } else if folder.join("exists").exists() {
            keep(requests, head, &request)?;
            "200 OK"
        } else {
            "404 Not Found"
        };
        write!(client, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")?;
    }
}

/// One write, so that a request is in the file or not: the length of its head and of all, and its bytes.
fn keep(requests: &Mutex<File>, head: usize, request: &[u8]) -> io::Result<()> {
    let mut record = Vec::with_capacity(request.len() + 16);
    for length in [head, request.len()] {
        record.extend_from_slice(&(length as u64).to_le_bytes());
    }
    record.extend_from_slice(request);
    let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
    requests.write_all(&record)
}
