//! Certificates for servers, and a Redis server that accepts TLS only.

use crate::launch::free_port;
use crate::{Error, Server, search_path};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

const AUTHORITY: &str = "authority.pem";
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// A certificate for 127.0.0.1, signed by an authority that no system trusts. Its files, in PEM, are
/// removed when this value is dropped.
#[derive(Debug)]
pub struct Certificate(TempDir);

impl Certificate {
    /// Makes a new authority, and a certificate that it signs.
    ///
    /// # Errors
    ///
    /// [`Error::Certificate`] and [`Error::Io`].
    pub fn create() -> Result<Self, Error> {
        let folder = tempfile::tempdir()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        let certificate = params.signed_by(&key, &authority)?;
        fs::write(folder.path().join(AUTHORITY), authority.pem())?;
        fs::write(folder.path().join(CERTIFICATE), certificate.pem())?;
        fs::write(folder.path().join(KEY), key.serialize_pem())?;
        Ok(Self(folder))
    }

    /// The file with the certificate of the authority.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.0.path().join(AUTHORITY)
    }

    /// The file with the certificate of the server.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.0.path().join(CERTIFICATE)
    }

    /// The file with the key of the server.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.0.path().join(KEY)
    }
}

/// The server, with a [`Certificate`].
#[derive(Debug)]
pub struct Redis {
    url: String,
    certificate: Certificate,
    _server: Server,
}

impl Redis {
    /// Starts an installed Redis.
    ///
    /// # Errors
    ///
    /// As [`Server::start`], and [`Error::Certificate`].
    pub fn start() -> Result<Self, Error> {
        let files = Certificate::create()?;
        let port = free_port()?;
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let (port_text, authority) = (port.to_string(), text(files.authority()));
        let (certificate, key) = (text(files.certificate()), text(files.key()));
        let settings = [
            ["--port", "0"],
            ["--tls-port", &port_text],
            ["--tls-ca-cert-file", &authority],
            ["--tls-cert-file", &certificate],
            ["--tls-key-file", &key],
            ["--tls-auth-clients", "no"],
        ];
        Ok(Self {
            _server: Server::start_redis(&search_path(), Some(port), settings.as_flattened())?,
            url: format!("rediss://127.0.0.1:{port}/"),
            certificate: files,
        })
    }

    /// The URL, with the scheme `rediss`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file with the certificate of the authority in PEM.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.certificate.authority()
    }
}
