//! A certificate authority of the test, and a server's certificate from it.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, version};

/// What a server shows to its clients.
#[derive(Clone)]
pub struct Identity {
    /// Starts TLS on a connection.
    pub acceptor: TlsAcceptor,
    /// The authority's certificate.
    pub root: String,
    /// The server's certificate and its key, for a server that reads files.
    pub files: (String, String),
}

/// Returns an identity for these names and addresses.
pub fn identity(names: &[&str]) -> Identity {
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    // With the name of a certificate that it issues, OpenSSL would take that one for self-signed.
    root.distinguished_name
        .push(DnType::CommonName, "an authority of the tests");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let issuer = Issuer::new(root, root_key);

    let key = KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let certificate = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    Identity {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        root: root_pem,
        files: (certificate.pem(), key.serialize_pem()),
    }
}
