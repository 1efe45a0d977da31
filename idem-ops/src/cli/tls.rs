//! TLS as this command uses it: its file of authorities, and exit codes.

use std::path::Path;

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;

use super::problem::Problem;
use crate::files;
use crate::tls::{certificates, client};

/// Trusts the system's authorities and those of a file.
///
/// # Errors
/// Exit code 2 when the file cannot be used, 1 when the system has no authorities.
pub(crate) fn config(needed: bool, ca_file: Option<&Path>) -> Result<ClientConfig, Problem> {
    let extra = ca_file.map(authorities).transpose()?.unwrap_or_default();
    client(needed, extra).map_err(|error| Problem::failed(format!("TLS cannot be used: {error}")))
}

fn authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let found = files::read(file, files::CERTIFICATES)
        .map_err(|error| error.to_string())
        .and_then(|pem| certificates(&pem));
    found.map_err(|reason| {
        Problem::usage(format!(
            "`{}` cannot be used ({reason}): PEM with `BEGIN CERTIFICATE` is expected",
            file.display()
        ))
    })
}
