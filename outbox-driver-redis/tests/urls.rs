//! URLs of servers, with and without the features that they need.

use outbox_core::ErrorKind;
use outbox_driver_redis::Server;

const HAS_TLS: bool = cfg!(any(
    feature = "tls-rustls-ring-native-roots",
    feature = "tls-rustls-ring-webpki"
));

fn refused(url: &str) -> String {
    let error = Server::from_url(url).expect_err(url);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert_eq!(error.operation(), "open");
    error.to_string()
}

/// A URL, and the feature that it needs.
const URLS: &[(&str, &str, bool)] = &[
    ("redis://me:secret@host/3", "", true),
    ("valkey://host", "", true),
    ("redis+unix:///run/redis.sock", "", true),
    ("redis+unix:/run/redis.sock", "", true),
    ("rediss://me:secret@host/", "tls-rustls-ring", HAS_TLS),
    ("valkeys://host", "tls-rustls-ring", HAS_TLS),
    (
        "redis+sentinel://me:secret@host,other:26379/shop/3",
        "sentinel",
        cfg!(feature = "sentinel"),
    ),
    (
        "rediss+sentinel://host/shop",
        "",
        HAS_TLS && cfg!(feature = "sentinel"),
    ),
    (
        "redis+cluster://me:secret@host,other:6379/",
        "cluster",
        cfg!(feature = "cluster"),
    ),
    (
        "rediss+cluster://host",
        "",
        HAS_TLS && cfg!(feature = "cluster"),
    ),
];

#[test]
fn a_url_is_read_or_the_missing_feature_is_named() {
    for (url, feature, is_enabled) in URLS {
        if *is_enabled {
            Server::from_url(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            continue;
        }
        let error = refused(url);
        assert!(error.contains(feature), "{url}: {error}");
        assert!(error.contains("is not enabled"), "{url}: {error}");
        assert!(!error.contains("secret"), "{url}: {error}");
    }
}

#[test]
fn the_case_of_a_scheme_does_not_matter() {
    for (url, _, is_enabled) in URLS {
        let (scheme, rest) = url.split_once(':').expect("a scheme");
        let upper = format!("{}:{rest}", scheme.to_uppercase());
        let read = Server::from_url(&upper);
        assert_eq!(read.is_ok(), *is_enabled, "{upper}: {read:?}");
        if let Ok(read) = read {
            let lower = Server::from_url(url).expect("the same URL");
            assert_eq!(format!("{read:?}"), format!("{lower:?}"));
        }
    }
}

#[test]
fn a_wrong_scheme_is_refused_with_the_schemes_that_are_allowed() {
    for (url, found) in [
        ("postgres://me:secret@host/", "scheme is \"postgres\""),
        ("redis+tls://:secret@host/", "scheme is \"redis+tls\""),
        ("me:secret@host://x", "no scheme"),
        ("://secret", "no scheme"),
        ("secret", "no scheme"),
        ("", "no scheme"),
        ("redis:secret", "no scheme"),
    ] {
        let error = refused(url);
        assert!(error.contains(found), "{url}: {error}");
        for allowed in ["redis, rediss,", "redis+sentinel", "redis+cluster"] {
            assert!(error.contains(allowed), "{url}: {error}");
        }
        assert!(!error.contains("secret"), "{url}: {error}");
    }
}

#[test]
fn a_url_that_cannot_be_read_is_refused_without_its_password() {
    for url in [
        "redis://me:secret@host:port/",
        "redis://me:secret@host/many",
        "redis+sentinel://me:secret@host:port/shop",
        "redis+sentinel://me:secret@host",
        "redis+cluster://me:secret@host:port",
        "redis+cluster://me:secret@host/3",
    ] {
        let error = refused(url);
        assert!(!error.contains("secret"), "{error}");
    }
}
