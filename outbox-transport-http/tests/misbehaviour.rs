//! Endpoints that misbehave in each way: the kind of the error, and that their neighbours are not delayed.

mod support;

use outbox_core::{PublishErrorKind as Kind, Transport};
use outbox_transport_http::HttpTransport;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Reply, Request, Server, Then, config, event, open, publish_one, text};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;

/// How long a call waits for an endpoint that hangs.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);

/// More than what is read of a response, with the buffers of the system.
const BOUND: usize = 8 << 20;

fn transport(server: &Server) -> HttpTransport {
    let config = config(&server.url("/{type}")).call_timeout(CALL_TIMEOUT);
    open(config)
}

/// A server with an endpoint that misbehaves, and with one that works.
async fn server(reply: Reply) -> Server {
    let answer = move |request: Request| match &*request.path {
        "/works" => Reply::status("200 OK"),
        _ => reply.clone(),
    };
    Server::start(answer).await
}

/// Publishes to an endpoint that answers so, while events are published to its neighbour.
async fn answer(reply: Reply) -> Result<(), (Kind, String)> {
    let server = server(reply).await;
    let transport = transport(&server);
    let neighbours = [(); 20].map(|()| event("works"));
    let (answer, beside) = tokio::join!(
        publish_one(&transport, event("odd")),
        transport.publish(&neighbours)
    );
    assert!(beside.iter().all(Result::is_ok), "{beside:?}");
    if let Err((_, text)) = &answer {
        let port = server.port().to_string();
        assert!(
            text.contains(&format!("destination http://127.0.0.1:{port}/odd: ")),
            "{text}"
        );
    }
    answer
}

async fn kind(reply: Reply) -> Result<(), Kind> {
    answer(reply).await.map_err(|(kind, _)| kind)
}

macro_rules! misbehaviour {
    ($($name:ident: $bytes:expr, $then:expr => $kind:expr,)*) => {$(
        #[tokio::test]
        async fn $name() {
            assert_eq!(kind(Reply::raw($bytes, $then)).await, $kind);
        }
    )*};
}

misbehaviour! {
    hangs_before_the_status: "", Then::Hang => Err(Kind::Unavailable),
    hangs_within_the_status: "HTTP/1.1 20", Then::Hang => Err(Kind::Unavailable),
    hangs_within_the_headers: "HTTP/1.1 200 OK\r\ncontent-le", Then::Hang => Err(Kind::Unavailable),
    hangs_behind_a_header: "HTTP/1.1 200 OK\r\nx: y\r\n", Then::Hang => Err(Kind::Unavailable),
    hangs_within_the_body: "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", Then::Hang => Ok(()),
    hangs_within_a_chunk: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc", Then::Hang => Ok(()),
    hangs_within_the_body_of_an_error:
        "HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nabc", Then::Hang => Err(Kind::Unavailable),
    hangs_behind_a_continue: "HTTP/1.1 100 Continue\r\n\r\n", Then::Hang => Err(Kind::Unavailable),
    closes_before_the_status: "", Then::Close => Err(Kind::Unavailable),
    closes_within_the_status: "HTTP/1.1 2", Then::Close => Err(Kind::Unavailable),
    closes_within_the_headers: "HTTP/1.1 200 OK\r\nx: ", Then::Close => Err(Kind::Unavailable),
    closes_within_the_body: "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", Then::Close => Ok(()),
    resets_before_the_status: "", Then::Reset => Err(Kind::Unavailable),
    resets_within_the_headers: "HTTP/1.1 200 OK\r\nx: ", Then::Reset => Err(Kind::Unavailable),
    sends_no_http: "SSH-2.0-OpenSSH_9.2\r\n", Then::Hang => Err(Kind::Unavailable),
    sends_zeros: [0; 64], Then::Hang => Err(Kind::Unavailable),
    sends_an_old_version: "HTTP/0.9 200 OK\r\n\r\n", Then::Hang => Err(Kind::Unavailable),
    sends_a_status_that_is_no_number: "HTTP/1.1 OK OK\r\n\r\n", Then::Hang => Err(Kind::Unavailable),
    sends_a_status_of_two_digits: "HTTP/1.1 20 OK\r\n\r\n", Then::Hang => Err(Kind::Unavailable),
    sends_a_wrong_length: "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", Then::Hang => Err(Kind::Unavailable),
    sends_two_lengths:
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", Then::Hang => Err(Kind::Unavailable),
    sends_more_than_its_length: "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabcdef", Then::Hang => Ok(()),
    sends_no_length: "HTTP/1.1 200 OK\r\n\r\nabc", Then::Hang => Ok(()),
    sends_wrong_chunks: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", Then::Hang => Ok(()),
    sends_a_header_without_a_colon: "HTTP/1.1 200 OK\r\nabc\r\n\r\n", Then::Hang => Err(Kind::Unavailable),
    switches_the_protocol:
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", Then::Hang => Err(Kind::Unavailable),
    continues_and_then_accepts:
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n", Then::Next => Ok(()),
    an_unknown_status: "HTTP/1.1 799 Odd\r\ncontent-length: 0\r\n\r\n", Then::Next => Err(Kind::Unavailable),
}

#[tokio::test]
async fn endless_continues_are_ended_by_the_timeout() {
    let reply = Reply::raw(
        "",
        Then::Forever(b"HTTP/1.1 100 Continue\r\n\r\n", Arc::default()),
    );
    assert_eq!(kind(reply).await, Err(Kind::Unavailable));
}

#[tokio::test]
async fn endless_headers_are_read_to_a_bound() {
    let count = Arc::<AtomicUsize>::default();
    for (start, bytes) in [
        (
            "HTTP/1.1 200 OK\r\n",
            b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".as_slice(),
        ),
        (
            "HTTP/1.1 200 OK\r\nx: ",
            b"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
        ),
    ] {
        let reply = Reply::raw(start, Then::Forever(bytes, Arc::clone(&count)));
        assert_eq!(kind(reply).await, Err(Kind::Unavailable));
        let sent = count.swap(0, Ordering::Relaxed);
        assert!(sent < BOUND, "{sent}");
    }
}

#[tokio::test]
async fn an_endless_body_is_not_read() {
    for (status, expected) in [("200 OK", Ok(())), ("400 No", Err(Kind::Rejected))] {
        let count = Arc::<AtomicUsize>::default();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: 999999999999\r\n\r\n");
        let reply = Reply::raw(head, Then::Forever(&[b'x'; 4096], Arc::clone(&count)));
        assert_eq!(kind(reply).await, expected);
        let sent = count.load(Ordering::Relaxed);
        assert!(sent < BOUND, "{sent}");
    }
}

#[tokio::test]
async fn the_body_of_an_answer_is_in_no_error() {
    let reply = "HTTP/1.1 400 hunter2\r\nx: hunter2\r\ncontent-length: 7\r\n\r\nhunter2";
    let (kind, text) = answer(Reply::raw(reply, Then::Next)).await.unwrap_err();
    assert_eq!(kind, Kind::Rejected);
    assert!(
        text.ends_with("the endpoint answered 400 Bad Request"),
        "{text}"
    );
}

#[tokio::test]
async fn an_error_has_no_secret_of_the_url() {
    let server = server(Reply::raw("garbage", Then::Close)).await;
    let url = format!(
        "http://me:hunter2@127.0.0.1:{}/odd?token=hunter2",
        server.port()
    );
    let transport = open(config(&url));
    let (kind, text) = publish_one(&transport, event("x")).await.unwrap_err();
    assert_eq!(kind, Kind::Unavailable);
    assert!(
        !text.contains("hunter2") && !format!("{transport:?}").contains("hunter2"),
        "{text}"
    );
    let name = transport.destination(&event("x")).unwrap().into_owned();
    assert_eq!(name, format!("http://127.0.0.1:{}/odd", server.port()));
}

#[tokio::test]
async fn a_port_without_a_server_is_unavailable() {
    // Without `listen` the port is taken, and refuses connections.
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = taken.local_addr().unwrap().port();
    let transport = open(config(&format!("http://127.0.0.1:{port}/")));
    let (kind, text) = publish_one(&transport, event("x")).await.unwrap_err();
    assert_eq!(kind, Kind::Unavailable, "{text}");
}

#[tokio::test]
async fn a_server_that_accepts_no_connection_is_unavailable_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let limit = Duration::from_millis(100);
    let transport = open(config(&url).call_timeout(limit));
    let (kind, text) = publish_one(&transport, event("x")).await.unwrap_err();
    assert_eq!(kind, Kind::Unavailable);
    assert!(
        text.ends_with("no answer within the call timeout of 100ms"),
        "{text}"
    );
}

#[tokio::test]
async fn a_connection_that_is_closed_at_once_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let (kind, text) = publish_one(&open(config(&url)), event("x"))
        .await
        .unwrap_err();
    assert_eq!(kind, Kind::Unavailable, "{text}");
}

#[tokio::test]
async fn a_name_without_an_address_is_unavailable() {
    let transport = open(config("http://no-such-name.invalid/"));
    let (kind, text) = publish_one(&transport, event("x")).await.unwrap_err();
    assert_eq!(kind, Kind::Unavailable, "{text}");
}

/// As a 200 after 9 s of the 10 s that a call may take.
#[tokio::test]
async fn a_late_answer_is_accepted_and_delays_no_neighbour() {
    let late = Arc::new(Notify::new());
    let reply = Reply::raw(
        "",
        Then::Late(
            Arc::clone(&late),
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ),
    );
    let server = server(reply).await;
    let transport = transport(&server);
    let neighbours = async {
        for _again in 0..10 {
            publish_one(&transport, event("works")).await.unwrap();
        }
        late.notify_one();
    };
    let (answer, ()) = tokio::join!(publish_one(&transport, event("odd")), neighbours);
    answer.unwrap();
}

/// The answer of an attempt that was given up does not answer the next one.
#[tokio::test]
async fn an_answer_that_comes_too_late_is_not_that_of_the_next_attempt() {
    let late = Arc::new(Notify::new());
    let seen = Mutex::new(Vec::new());
    let (notify, first) = (Arc::clone(&late), AtomicUsize::new(0));
    let server = Server::start(move |request: Request| {
        seen.lock()
            .unwrap()
            .push(request.headers["webhook-id"].clone());
        match first.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::raw(
                "",
                Then::Late(
                    Arc::clone(&notify),
                    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                ),
            ),
            _ => Reply::status("422 No"),
        }
    });
    let server = server.await;
    let limit = Duration::from_millis(200);
    let transport = open(config(&server.url("/x")).call_timeout(limit));
    let again = event("x");
    let (kind, _) = publish_one(&transport, again.clone()).await.unwrap_err();
    assert_eq!(kind, Kind::Unavailable);
    late.notify_one();
    let (kind, _) = publish_one(&transport, again).await.unwrap_err();
    assert_eq!(kind, Kind::Rejected);
}

/// An endpoint that hangs gets as many requests as its limit says, and no other endpoint waits for it.
#[tokio::test]
async fn an_endpoint_that_hangs_holds_only_its_own_requests() {
    let hung = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&hung);
    let server = Server::start(move |request: Request| {
        if request.path.starts_with("/hangs") {
            counted.fetch_add(1, Ordering::SeqCst);
            return Reply::raw("", Then::Hang);
        }
        Reply::status("200 OK")
    });
    let server = server.await;
    let config = config(&server.url("/{type}")).call_timeout(CALL_TIMEOUT);
    let transport = open(config.requests_per_endpoint(3).requests(8));
    let events = [(); 50].map(|()| event("hangs"));
    let neighbours = async {
        for _again in 0..20 {
            let events = [(); 20].map(|()| event("works"));
            let answers = transport.publish(&events).await;
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        }
    };
    let hanging = transport.publish(&events);
    tokio::pin!(hanging);
    // The neighbours have all their answers before the endpoint that hangs is given up.
    tokio::select! {
        biased;
        _ = &mut hanging => panic!("the neighbours waited"),
        () = neighbours => {}
    }
    let answers = hanging.await;
    let kinds: Vec<Kind> = answers
        .iter()
        .map(|answer| answer.as_ref().unwrap_err().kind())
        .collect();
    let unavailable = kinds
        .iter()
        .filter(|kind| **kind == Kind::Unavailable)
        .count();
    assert_eq!(
        (unavailable, hung.load(Ordering::SeqCst)),
        (3, 3),
        "{kinds:?}"
    );
    assert!(
        kinds
            .iter()
            .all(|kind| matches!(kind, Kind::Unavailable | Kind::Throttled(_)))
    );
}

/// It has said that it takes nothing, so it is not asked for each event.
#[tokio::test]
async fn an_endpoint_with_a_problem_gets_no_further_requests_of_the_call() {
    for (reply, expected) in [
        (
            Reply::with("503 No", "retry-after: 7\r\n"),
            Kind::Throttled(Duration::from_secs(7)),
        ),
        (Reply::status("500 No"), Kind::Unavailable),
        (Reply::status("404 No"), Kind::Misconfigured),
    ] {
        let asked = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&asked);
        let server = Server::start(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            reply.clone()
        });
        let server = server.await;
        let transport = open(config(&server.url("/x")).requests_per_endpoint(2));
        let answers = transport.publish(&[(); 100].map(|()| event("x"))).await;
        for answer in &answers {
            assert_eq!(
                answer.as_ref().unwrap_err().kind(),
                expected,
                "{}",
                text(answer.as_ref().unwrap_err())
            );
        }
        assert!(asked.load(Ordering::SeqCst) <= 4);
    }
}

/// An event that is refused is not a problem of the endpoint.
#[tokio::test]
async fn a_refused_event_stops_no_other_event_of_its_call() {
    let server = Server::start(|request: Request| match &*request.body {
        b"bad" => Reply::status("422 No"),
        _ => Reply::status("200 OK"),
    });
    let server = server.await;
    let transport = open(config(&server.url("/x")).requests_per_endpoint(1));
    let mut events = [(); 9].map(|()| event("x"));
    events[4].payload = "bad".into();
    let answers = transport.publish(&events).await;
    for (number, answer) in answers.iter().enumerate() {
        let kind = answer.as_ref().map_err(outbox_core::PublishError::kind);
        assert_eq!(
            kind,
            if number == 4 {
                Err(Kind::Rejected)
            } else {
                Ok(&())
            }
        );
    }
}

/// More events than there is time for: the ones that were not sent are not blamed, and the endpoint, which
/// works, does not pause.
#[tokio::test]
async fn events_that_are_not_sent_in_time_wait_and_are_not_blamed() {
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status("200 OK"),
        _ => Reply::raw(
            "",
            Then::Late(
                Arc::clone(&opened),
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            ),
        ),
    });
    let server = server.await;
    let config = config(&server.url("/x")).call_timeout(Duration::from_millis(400));
    let transport = open(config.requests_per_endpoint(1));
    let events = [(); 3].map(|()| event("x"));
    let answers = transport.publish(&events).await;
    let kinds = answers
        .iter()
        .map(|answer| answer.as_ref().map_err(outbox_core::PublishError::kind));
    let expected = [
        Ok(&()),
        Err(Kind::Unavailable),
        Err(Kind::Throttled(Duration::ZERO)),
    ];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
}

/// Servers close connections that are idle, and do not say so before.
#[tokio::test]
async fn a_connection_that_is_closed_after_an_answer_costs_no_event() {
    let reply = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let server = server(Reply::raw(reply, Then::Close)).await;
    let transport = transport(&server);
    for _again in 0..100 {
        publish_one(&transport, event("odd")).await.unwrap();
    }
}

/// Each connection answers one request and is closed when the next one comes.
#[tokio::test]
async fn a_connection_that_is_closed_with_the_next_request_costs_no_event() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) % 2 {
        0 => Reply::status("200 OK"),
        _ => Reply::raw("", Then::Close),
    });
    let server = server.await;
    let transport = open(config(&server.url("/x")));
    for _again in 0..20 {
        publish_one(&transport, event("x")).await.unwrap();
    }
}

/// Answers with a body are read to their end, so that one connection is enough.
#[tokio::test]
async fn a_connection_is_used_again() {
    let reply = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let (ports, replies) = (Arc::<AtomicUsize>::default(), reply);
    let counted = Arc::clone(&ports);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(support::serve(client, move |_| {
                Reply::raw(replies, Then::Next)
            }));
        }
    });
    let transport = open(config(&url));
    for _again in 0..20 {
        publish_one(&transport, event("x")).await.unwrap();
    }
    assert_eq!(ports.load(Ordering::SeqCst), 1);
}
