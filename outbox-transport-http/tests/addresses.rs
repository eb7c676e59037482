//! No request goes to an address that is not public, in whichever way it is written, found or reached,
//! unless its network is allowed.

mod support;

use outbox_core::{ErrorKind, PublishErrorKind};
use outbox_transport_http::reqwest::dns::{Addrs, Name, Resolve, Resolving};
use outbox_transport_http::{HttpConfig, HttpTransport};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use support::{Reply, Server, event, open, publish_one};

/// Checks that no transport opens for a URL, because of its host.
fn check_url(url: &str) {
    let opened = HttpConfig::from_url(url).and_then(HttpTransport::open);
    let error = opened.expect_err(url);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
    let text = error.to_string();
    let problems = ["address is ", "host that cannot be read", "has a '#'"];
    assert!(
        problems.iter().any(|problem| text.contains(problem)),
        "{url}: {text}"
    );
}

macro_rules! refused_urls {
    ($($name:ident: $url:literal,)*) => {$(
        #[test]
        fn $name() {
            check_url($url);
        }
    )*};
}

refused_urls! {
    loopback: "http://127.0.0.1/",
    loopback_in_short: "http://127.1/",
    loopback_elsewhere: "http://127.255.255.254:8080/",
    loopback_as_a_decimal_number: "http://2130706433/",
    loopback_as_a_hexadecimal_number: "http://0x7f000001/",
    loopback_in_hexadecimal_parts: "http://0x7f.0x0.0x0.0x1/",
    loopback_as_an_octal_number: "http://017700000001/",
    loopback_in_octal_parts: "http://0177.0.0.01/",
    loopback_in_mixed_parts: "http://0x7f.0.1/",
    loopback_with_a_dot_behind_it: "http://127.0.0.1./",
    loopback_percent_encoded: "http://127%2e0%2e0%2e1/",
    loopback_in_wide_digits: "http://１２７.０.０.１/",
    loopback_with_ideographic_dots: "http://127。0。0。1/",
    loopback_in_circled_digits: "http://①②⑦.⓪.⓪.①/",
    unspecified: "http://0.0.0.0/",
    unspecified_as_a_number: "http://0/",
    private_10: "http://10.0.0.1/",
    private_172: "http://172.16.0.1/",
    private_192: "http://192.168.1.1/",
    metadata_of_clouds: "http://169.254.169.254/latest/meta-data/",
    metadata_of_clouds_as_a_number: "http://2852039166/",
    metadata_in_the_shared_network: "http://100.100.100.200/",
    metadata_in_a_reserved_network: "http://192.0.0.192/",
    benchmarks: "http://198.18.0.1/",
    multicast: "http://224.0.0.1/",
    reserved: "http://240.0.0.1/",
    broadcast: "http://255.255.255.255/",
    v6_loopback: "http://[::1]/",
    v6_loopback_in_full: "http://[0000:0000:0000:0000:0000:0000:0000:0001]/",
    v6_unspecified: "http://[::]/",
    v6_mapped: "http://[::ffff:127.0.0.1]/",
    v6_mapped_in_hexadecimal: "http://[::ffff:7f00:1]/",
    v6_mapped_metadata: "http://[0:0:0:0:0:ffff:a9fe:a9fe]/",
    v6_mapped_public: "http://[::ffff:1.1.1.1]/",
    v6_compatible: "http://[::127.0.0.1]/",
    v6_nat64: "http://[64:ff9b::127.0.0.1]/",
    v6_nat64_public: "http://[64:ff9b::101:101]/",
    v6_nat64_of_a_site: "http://[64:ff9b:1::7f00:1]/",
    v6_6to4: "http://[2002:7f00:1::]/",
    v6_teredo: "http://[2001:0:53aa:64c:0:7efe:80ff:fffe]/",
    v6_link_local: "http://[fe80::1]/",
    v6_link_local_with_a_zone: "http://[fe80::1%25eth0]/",
    v6_link_local_with_a_plain_zone: "http://[fe80::1%eth0]/",
    v6_site_local: "http://[fec0::1]/",
    v6_unique_local: "http://[fc00::1]/",
    v6_metadata: "http://[fd00:ec2::254]/",
    v6_multicast: "http://[ff02::1]/",
    v6_documentation: "http://[2001:db8::1]/",
    a_name_as_the_login: "http://public.example@127.0.0.1/",
    a_name_and_a_port_as_the_login: "http://public.example:80@127.0.0.1/",
    a_name_with_an_encoded_at_as_the_login: "http://public.example%40@127.0.0.1/",
    two_logins: "http://a@public.example@127.0.0.1/",
    a_login_behind_a_backslash: "http://127.0.0.1\\@public.example/",
    a_name_in_front_of_a_fragment: "http://127.0.0.1#@public.example/",
    a_query_without_a_path: "http://127.0.0.1?@public.example/",
}

/// Gives the answers one after another, and the last one from then on.
struct Scripted {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parsed = |answer: &&[&str]| {
            answer
                .iter()
                .map(|text| text.parse().expect("an address"))
                .collect()
        };
        Arc::new(Self {
            answers: Mutex::new(answers.iter().rev().map(parsed).collect()),
            asked: AtomicUsize::new(0),
        })
    }
}

impl Resolve for Scripted {
    fn resolve(&self, _name: Name) -> Resolving {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().expect("no panic");
        let answer = match answers.len() {
            1 => answers[0].clone(),
            _ => answers.pop().expect("an answer"),
        };
        let addresses = answer
            .into_iter()
            .map(|address| SocketAddr::new(address, 0));
        Box::pin(async move { Ok(Box::new(addresses) as Addrs) })
    }
}

/// A server that must get no request, and how many it got.
async fn trap() -> (Server, Arc<AtomicUsize>) {
    trap_at("127.0.0.1:0").await
}

async fn trap_at(address: &str) -> (Server, Arc<AtomicUsize>) {
    let count = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&count);
    let server = Server::at(address, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Reply::status("200 OK")
    });
    (server.await, count)
}

/// Checks that an event for this name is not sent, when it has these addresses.
async fn check_name(name: &str, addresses: &[&str]) {
    let (trap, count) = trap().await;
    let url = format!("http://{name}:{}/", trap.port());
    let config = HttpConfig::from_url(&url).expect("a URL");
    let transport = open(config.resolver(Scripted::new(&[addresses])));
    let (kind, text) = publish_one(&transport, event("x"))
        .await
        .expect_err("refused");
    assert_eq!(kind, PublishErrorKind::Misconfigured, "{name}: {text}");
    assert!(
        text.contains("but must be public or in an allowed network"),
        "{text}"
    );
    assert_eq!(count.load(Ordering::SeqCst), 0, "{name}");
}

macro_rules! refused_names {
    ($($name:ident: $host:literal is $addresses:expr,)*) => {$(
        #[tokio::test]
        async fn $name() {
            check_name($host, &$addresses).await;
        }
    )*};
}

refused_names! {
    a_name_for_loopback: "hooks.example" is ["127.0.0.1"],
    a_name_with_a_dot_behind_it: "hooks.example." is ["127.0.0.1"],
    a_name_with_an_address_in_it: "127.0.0.1.nip.example" is ["127.0.0.1"],
    a_name_in_capitals: "LOCALHOST" is ["127.0.0.1"],
    a_name_for_v6_loopback: "hooks.example" is ["::1"],
    a_name_for_a_mapped_address: "hooks.example" is ["::ffff:127.0.0.1"],
    a_name_for_a_nat64_address: "hooks.example" is ["64:ff9b::7f00:1"],
    a_name_for_metadata: "metadata.google.internal" is ["169.254.169.254"],
    a_name_with_a_public_address_first: "hooks.example" is ["1.1.1.1", "127.0.0.1"],
    a_name_with_a_public_address_last: "hooks.example" is ["127.0.0.1", "1.1.1.1"],
}

/// With what the system says.
#[tokio::test]
async fn localhost() {
    let (trap, count) = trap().await;
    let url = format!("http://localhost:{}/", trap.port());
    let transport = open(HttpConfig::from_url(&url).unwrap());
    let (kind, text) = publish_one(&transport, event("x")).await.unwrap_err();
    assert_eq!(kind, PublishErrorKind::Misconfigured, "{text}");
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

/// The first look-up finds an allowed address, and the second one a forbidden one.
#[tokio::test]
async fn a_name_that_is_bound_to_another_address_between_two_look_ups() {
    let server = Server::at("127.0.0.2:0", |_| {
        Reply::raw(
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            support::Then::Close,
        )
    });
    let server = server.await;
    let (_trap, count) = trap_at(&format!("127.0.0.1:{}", server.port())).await;
    let resolver = Scripted::new(&[&["127.0.0.2"], &["127.0.0.1"]]);
    let url = format!("http://hooks.example:{}/", server.port());
    let config = HttpConfig::from_url(&url).unwrap();
    let config = config.allow_networks(["127.0.0.2/32".parse().unwrap()]);
    let transport = open(config.resolver(Arc::clone(&resolver) as Arc<dyn Resolve>));
    // One look-up for an attempt: the address that is checked is the one that is used.
    publish_one(&transport, event("x")).await.unwrap();
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 1);
    let (kind, text) = publish_one(&transport, event("x")).await.unwrap_err();
    assert_eq!(kind, PublishErrorKind::Misconfigured, "{text}");
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 2);
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

/// A redirect is not followed, to whichever place.
#[tokio::test]
async fn redirects() {
    let (trap, count) = trap().await;
    let place = trap.url("/");
    let locations = [
        place.clone(),
        place.replace("127.0.0.1", "localhost"),
        "/again".to_owned(),
    ];
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
    ] {
        for location in &locations {
            let location = format!("location: {location}\r\n");
            let asked = Arc::<AtomicUsize>::default();
            let counted = Arc::clone(&asked);
            let server = Server::start(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
                Reply::with(status, &location)
            });
            let server = server.await;
            let transport = open(support::config(&server.url("/")));
            let (kind, text) = publish_one(&transport, event("x")).await.unwrap_err();
            assert_eq!(kind, PublishErrorKind::Misconfigured, "{text}");
            assert_eq!(asked.load(Ordering::SeqCst), 1);
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_allowed_network_can_be_reached_by_its_address_and_by_a_name() {
    let server = Server::start(|_| Reply::status("200 OK")).await;
    publish_one(&open(support::config(&server.url("/"))), event("x"))
        .await
        .unwrap();
    let config = support::config(&format!("http://hooks.example:{}/", server.port()));
    let transport = open(config.resolver(Scripted::new(&[&["127.0.0.1"]])));
    publish_one(&transport, event("x")).await.unwrap();
}

/// Run by the next test, in a process whose environment names a proxy.
#[tokio::test]
#[ignore = "needs the environment of the test below"]
async fn a_request_in_an_environment_with_a_proxy() {
    let server = Server::start(|_| Reply::status("200 OK")).await;
    publish_one(&open(support::config(&server.url("/"))), event("x"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_used() {
    let (trap, count) = trap().await;
    let program = std::env::current_exe().unwrap();
    let mut command = tokio::process::Command::new(program);
    command.args([
        "--ignored",
        "--exact",
        "a_request_in_an_environment_with_a_proxy",
    ]);
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
        "HTTPS_PROXY",
    ] {
        command.env(name, trap.url("/"));
    }
    command.env_remove("NO_PROXY").env_remove("no_proxy");
    let output = command.output().await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{printed}"
    );
    assert_eq!(count.load(Ordering::SeqCst), 0);
}
