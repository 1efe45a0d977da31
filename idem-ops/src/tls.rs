//! TLS of this crate's HTTP clients: rustls with ring, and the system's authorities.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

/// Returns a configuration that trusts the system's authorities and `roots`. It names its provider,
/// because the process may have none, or another one.
///
/// # Errors
/// The reason why no authority can be trusted, as text.
pub(crate) fn client(
    needed: bool,
    roots: Vec<CertificateDer<'static>>,
) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    if !needed {
        // A machine without any root certificate can still talk to its own loopback.
        return Ok(config
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth());
    }
    let verifier =
        Verifier::new_with_extra_roots(roots, provider).map_err(|error| error.to_string())?;
    Ok(config
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// Reads the certificates in a text, at least one.
///
/// # Errors
/// The reason why there is none, as text.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(found) if found.is_empty() => Err("no `BEGIN CERTIFICATE`".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}
