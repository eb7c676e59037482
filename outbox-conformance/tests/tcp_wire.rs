//! Each fault of a TCP wire acts on the bytes that it names.

use outbox_conformance::{TcpWire, Wire};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// A wire to a server that answers each byte with "reply", and the bytes that the server received.
fn wire() -> (TcpWire, Receiver<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let wire = TcpWire::to(listener.local_addr().expect("an address")).expect("a wire");
    let (sender, received) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, sender) = (stream.expect("a client"), sender.clone());
            thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() {
                    let _ = sender.send(byte[0]);
                    let _ = stream.write_all(b"reply");
                }
            });
        }
    });
    (wire, received)
}

fn connect(wire: &TcpWire) -> TcpStream {
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
fn all_bytes_pass_also_with_a_delay_and_in_parts() {
    let (wire, _received) = wire();
    let mut client = connect(&wire);
    assert_eq!(&ask_for_all(&mut client), b"reply");
    wire.dribble();
    wire.delay(Duration::from_millis(1));
    assert_eq!(&ask_for_all(&mut client), b"reply");
    assert!(!wire.repair());
}

#[test]
fn a_request_that_is_cut_never_reaches_the_server() {
    let (wire, received) = wire();
    let mut client = connect(&wire);
    ask_for_all(&mut client);
    wire.cut_request(1);
    ask_for_all(&mut client);
    assert_eq!(ask(&mut client), b"");
    assert!(wire.repair());
    assert!(!wire.repair(), "a cut is reported once");
    // Another connection works, and the server received all bytes but the one that was cut.
    ask_for_all(&mut connect(&wire));
    assert_eq!(received.try_iter().collect::<Vec<_>>(), b"???");
}

#[test]
fn all_connections_are_cut_at_once() {
    let (wire, _received) = wire();
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
    let (wire, received) = wire();
    for bytes in 0..5 {
        wire.cut_reply(bytes);
        assert_eq!(ask(&mut connect(&wire)), b"reply"[..bytes]);
        assert!(wire.repair());
        assert_eq!(received.try_iter().count(), 1, "the server has the request");
    }
    wire.cut_reply(5);
    let mut client = connect(&wire);
    assert_eq!(&ask_for_all(&mut client), b"reply");
    assert!(!wire.repair(), "there was nothing left to cut");
    assert_eq!(&ask_for_all(&mut client), b"reply");
}

#[test]
fn a_silent_wire_passes_nothing_and_a_new_connection_works_after_the_fault() {
    let (wire, received) = wire();
    let mut client = connect(&wire);
    ask_for_all(&mut client);
    wire.go_silent();
    client
        .set_read_timeout(Some(Duration::from_millis(50)))
        .expect("set");
    client.write_all(b"!").expect("sent");
    let silence = client.read(&mut [0]).expect_err("silence");
    assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock);
    assert!(!wire.repair());
    assert_eq!(&ask_for_all(&mut connect(&wire)), b"reply");
    client.write_all(b"!").expect("sent");
    client.read(&mut [0]).expect_err("still silent");
    assert_eq!(received.try_iter().collect::<Vec<_>>(), b"??");
}

/// Waits until the wire holds a reply.
fn until_held(wire: &TcpWire) {
    while !wire.has_held() {
        thread::yield_now();
    }
}

/// The next byte that the wire passes within a time that is longer than it takes.
fn passes(client: &mut TcpStream) -> bool {
    let limit = Some(Duration::from_millis(50));
    client.set_read_timeout(limit).expect("set");
    client.read(&mut [0]).is_ok()
}

#[test]
fn replies_that_are_held_come_after_the_fault() {
    let (wire, received) = wire();
    let mut client = connect(&wire);
    ask_for_all(&mut client);
    wire.hold_replies();
    client.write_all(b"!").expect("sent");
    until_held(&wire);
    assert_eq!(received.try_iter().collect::<Vec<_>>(), b"?!");
    assert!(!passes(&mut client));
    assert!(!wire.repair(), "nothing was cut");
    let mut reply = [0; 5];
    client.set_read_timeout(None).expect("set");
    client.read_exact(&mut reply).expect("a late reply");
    assert_eq!(&reply, b"reply");
    assert_eq!(&ask_for_all(&mut client), b"reply");
}

#[test]
fn replies_that_are_held_come_while_the_next_request_is_cut() {
    let (wire, received) = wire();
    let mut client = connect(&wire);
    wire.hold_replies();
    client.write_all(b"!").expect("sent");
    until_held(&wire);
    wire.cut_request(0);
    assert!(!wire.has_held(), "another fault ends the last one");
    let mut reply = [0; 5];
    client.read_exact(&mut reply).expect("a late reply");
    assert_eq!(&reply, b"reply");
    assert_eq!(ask(&mut client), b"");
    assert_eq!(received.try_iter().collect::<Vec<_>>(), b"!");
}

#[test]
fn a_wire_that_holds_all_passes_requests_after_the_fault() {
    let (wire, received) = wire();
    wire.hold_all();
    let mut client = connect(&wire);
    client.write_all(b"!").expect("sent");
    assert!(!passes(&mut client));
    assert!(!wire.has_held(), "the server has replied to nothing");
    assert_eq!(received.try_iter().count(), 0);
    wire.repair();
    let mut reply = [0; 5];
    client.set_read_timeout(None).expect("set");
    client.read_exact(&mut reply).expect("a reply");
    assert_eq!(&reply, b"reply");
}

#[test]
fn a_client_of_a_server_that_is_down_finds_its_connection_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let wire = TcpWire::to(listener.local_addr().expect("an address")).expect("a wire");
    drop(listener);
    let mut reply = Vec::new();
    let _ = connect(&wire).read_to_end(&mut reply);
    assert_eq!(reply, b"");
}
