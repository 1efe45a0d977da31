//! TLS as this command uses it: rustls with ring, and the system's authorities.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

use super::problem::Problem;

/// Trusts the system's authorities and those of a file.
///
/// # Errors
/// Exit code 2 when the file cannot be used, 1 when the system has no authorities.
pub(crate) fn config(needed: bool, ca_file: Option<&Path>) -> Result<ClientConfig, Problem> {
    let bad = |error: rustls::Error| Problem::failed(format!("TLS cannot be used: {error}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(bad)?;
    let extra = ca_file.map(authorities).transpose()?.unwrap_or_default();
    if !needed {
        // A machine without any root certificate can still talk to its own loopback.
        return Ok(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    }
    let verifier = Verifier::new_with_extra_roots(extra, provider).map_err(bad)?;
    Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let bad = |reason: &str| {
        Problem::usage(format!(
            "`{}` cannot be used ({reason}): PEM with `BEGIN CERTIFICATE` is expected",
            file.display()
        ))
    };
    let pem = fs::read(file).map_err(|error| bad(&error.to_string()))?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err(bad("there is none in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(bad(&error.to_string())),
    }
}
