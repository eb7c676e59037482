//! The wire follows its commands exactly.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use test_servers::Wire;

/// A wire to a server that answers each byte with "reply", and tells each that came.
fn wire() -> (Wire, std::sync::mpsc::Receiver<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let wire = Wire::to(listener.local_addr().expect("an address")).expect("a wire");
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, tell) = (stream.expect("a client"), tell.clone());
            thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() {
                    let _ = tell.send(byte[0]);
                    let _ = stream.write_all(b"reply");
                }
            });
        }
    });
    (wire, told)
}

fn connect(wire: &Wire) -> TcpStream {
    TcpStream::connect(("127.0.0.1", wire.port())).expect("connected")
}

/// What comes back until the connection ends.
fn ask(stream: &mut TcpStream) -> Vec<u8> {
    let mut reply = Vec::new();
    stream.write_all(b"?").expect("asked");
    let _ = stream.read_to_end(&mut reply);
    reply
}

fn ask_for_all(stream: &mut TcpStream) -> [u8; 5] {
    let mut reply = [0; 5];
    stream.write_all(b"?").expect("asked");
    stream.read_exact(&mut reply).expect("a reply");
    reply
}

#[test]
fn bytes_pass_whole_also_slowly_and_in_parts() {
    let (wire, _told) = wire();
    let mut client = connect(&wire);
    assert_eq!(&ask_for_all(&mut client), b"reply");
    wire.dribble();
    wire.delay(Duration::from_millis(1));
    assert_eq!(&ask_for_all(&mut client), b"reply");
    assert!(!wire.mend());
}

#[test]
fn a_request_that_is_cut_never_reaches_the_server() {
    let (wire, told) = wire();
    let mut client = connect(&wire);
    ask_for_all(&mut client);
    wire.cut_request(1);
    ask_for_all(&mut client);
    assert_eq!(ask(&mut client), b"");
    assert!(wire.mend());
    assert!(!wire.mend(), "a cut is reported once");
    // Another connection is well, and what the server heard is all that was not cut.
    ask_for_all(&mut connect(&wire));
    assert_eq!(told.try_iter().collect::<Vec<_>>(), b"???");
}

#[test]
fn all_connections_are_cut_at_once() {
    let (wire, _told) = wire();
    let mut clients = [connect(&wire), connect(&wire)];
    for client in &mut clients {
        ask_for_all(client);
    }
    wire.cut_all();
    for client in &mut clients {
        assert_eq!(client.read(&mut [0]).expect("an end"), 0);
    }
    ask_for_all(&mut connect(&wire));
}

#[test]
fn a_reply_is_cut_after_each_of_its_bytes() {
    let (wire, told) = wire();
    for bytes in 0..5 {
        wire.cut_reply(bytes);
        assert_eq!(ask(&mut connect(&wire)), b"reply"[..bytes]);
        assert!(wire.mend());
        assert_eq!(told.try_iter().count(), 1, "the server has the request");
    }
    wire.cut_reply(5);
    let mut client = connect(&wire);
    assert_eq!(&ask_for_all(&mut client), b"reply");
    assert!(!wire.mend(), "there was nothing left to cut");
    assert_eq!(&ask_for_all(&mut client), b"reply");
}

#[test]
fn a_silent_wire_passes_nothing_and_a_new_connection_works_after_the_repair() {
    let (wire, told) = wire();
    let mut client = connect(&wire);
    ask_for_all(&mut client);
    wire.go_silent();
    client
        .set_read_timeout(Some(Duration::from_millis(50)))
        .expect("set");
    client.write_all(b"!").expect("sent");
    let silence = client.read(&mut [0]).expect_err("silence");
    assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock);
    assert!(!wire.mend());
    assert_eq!(&ask_for_all(&mut connect(&wire)), b"reply");
    client.write_all(b"!").expect("sent");
    client.read(&mut [0]).expect_err("silence for ever");
    assert_eq!(told.try_iter().collect::<Vec<_>>(), b"??");
}

#[test]
fn a_client_whose_server_is_away_finds_its_connection_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let wire = Wire::to(listener.local_addr().expect("an address")).expect("a wire");
    drop(listener);
    let mut reply = Vec::new();
    let _ = connect(&wire).read_to_end(&mut reply);
    assert_eq!(reply, b"");
}
