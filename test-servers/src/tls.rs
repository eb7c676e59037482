//! A Redis server that accepts TLS only.

use crate::launch::free_port;
use crate::{Error, Server, search_path};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The server. Its certificate for 127.0.0.1 is signed by an authority that no system trusts.
#[derive(Debug)]
pub struct Redis {
    url: String,
    folder: TempDir,
    _server: Server,
}

impl Redis {
    /// Starts an installed Redis.
    ///
    /// # Errors
    ///
    /// As [`Server::start`], and [`Error::Certificate`].
    pub fn start() -> Result<Self, Error> {
        let folder = tempfile::tempdir()?;
        let [authority, certificate, key] = certify(folder.path())?;
        let port = free_port()?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let (port_text, files) = (
            port.to_string(),
            [&authority, &certificate, &key].map(|path| text(path)),
        );
        let settings = [
            ["--port", "0"],
            ["--tls-port", &port_text],
            ["--tls-ca-cert-file", &files[0]],
            ["--tls-cert-file", &files[1]],
            ["--tls-key-file", &files[2]],
            ["--tls-auth-clients", "no"],
        ];
        Ok(Self {
            _server: Server::start_redis(&search_path(), Some(port), settings.as_flattened())?,
            url: format!("rediss://127.0.0.1:{port}/"),
            folder,
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
        self.folder.path().join(AUTHORITY)
    }
}

const AUTHORITY: &str = "authority.pem";

/// Writes the certificate of a new authority, and a certificate that it signed with its key.
fn certify(folder: &Path) -> Result<[PathBuf; 3], Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    let certificate = params.signed_by(&key, &authority)?;
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).map(|()| path)
    };
    Ok([
        write(AUTHORITY, authority.pem())?,
        write("certificate.pem", certificate.pem())?,
        write("key.pem", key.serialize_pem())?,
    ])
}
