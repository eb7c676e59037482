//! HTTPS: a certificate that the client trusts, one that it does not, and a server without TLS.
#![cfg(feature = "tls-rustls-ring-native-roots")]

mod support;

use outbox_core::PublishErrorKind as Kind;
use outbox_transport_http::HttpConfig;
use outbox_transport_http::reqwest::{Certificate, ClientBuilder};
use std::fs;
use std::sync::Arc;
use support::{Reply, config, event, open, publish_one};
use test_servers::tls;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

impl support::Connection for TlsStream<TcpStream> {
    fn reset(&mut self) {}
}

/// A server with a certificate for 127.0.0.1, and its URL.
async fn server(certificate: &tls::Certificate) -> String {
    let chain = CertificateDer::from_pem_file(certificate.certificate()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(certificate.key()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(vec![chain], key)
        });
    let acceptor = TlsAcceptor::from(Arc::new(config.expect("a configuration")));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            if let Ok(client) = acceptor.accept(client).await {
                tokio::spawn(support::serve(client, |_| Reply::status("200 OK")));
            }
        }
    });
    url
}

fn trusting(config: HttpConfig, certificate: &tls::Certificate) -> HttpConfig {
    let authority = fs::read(certificate.authority()).expect("a file");
    let authority = Certificate::from_pem(&authority).expect("a certificate");
    config.client(ClientBuilder::new().tls_certs_merge([authority]))
}

#[tokio::test]
async fn an_authority_that_is_added_is_trusted() {
    let certificate = tls::Certificate::create().unwrap();
    let url = server(&certificate).await;
    let transport = open(trusting(config(&url), &certificate));
    publish_one(&transport, event("x")).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_misconfigured() {
    let (certificate, other) = (
        tls::Certificate::create().unwrap(),
        tls::Certificate::create().unwrap(),
    );
    let url = server(&certificate).await;
    for config in [config(&url), trusting(config(&url), &other)] {
        let (kind, text) = publish_one(&open(config), event("x")).await.unwrap_err();
        assert_eq!(kind, Kind::Misconfigured, "{text}");
    }
}

/// The name of the URL counts, and not the address that it has.
#[tokio::test]
async fn a_certificate_of_another_name_is_misconfigured() {
    let certificate = tls::Certificate::create().unwrap();
    let url = server(&certificate).await.replace("127.0.0.1", "localhost");
    let transport = open(trusting(config(&url), &certificate).allow_networks([
        support::LOOPBACK.parse().unwrap(),
        "::1/128".parse().unwrap(),
    ]));
    let (kind, text) = publish_one(&transport, event("x")).await.unwrap_err();
    assert_eq!(kind, Kind::Misconfigured, "{text}");
}

#[tokio::test]
async fn a_server_without_tls_is_misconfigured() {
    // It answers garbage with an error of HTTP.
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let garbled = format!("https://{}/", plain.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = plain.accept().await {
            let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
            let _sent = tokio::io::AsyncWriteExt::write_all(&mut client, answer).await;
        }
    });
    let (kind, text) = publish_one(&open(config(&garbled)), event("x"))
        .await
        .unwrap_err();
    assert_eq!(kind, Kind::Misconfigured, "{text}");
}
