//! The URL of a ledger's server, and what belongs to it.

use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo, TlsCertificates};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use idem_runtime::ledger::shared::{StoreError, StoreErrorKind};

use crate::route::{Master, Route};

/// The port of a sentinel, by convention.
const SENTINEL: u16 = 26_379;

/// Where the server is, as the user wrote it.
#[derive(Clone)]
pub(crate) struct Address {
    url: String,
    pub(crate) certificates: TlsCertificates,
    /// The user and the password of the sentinels.
    pub(crate) sentinel_login: Option<(String, String)>,
}

impl Address {
    pub(crate) fn of(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            certificates: TlsCertificates {
                client_tls: None,
                root_cert: None,
            },
            sentinel_login: None,
        }
    }

    /// Returns the way to the primary.
    ///
    /// # Errors
    /// When the URL or a certificate cannot be read. The error quotes neither: a password may be in them.
    pub(crate) fn route(&self) -> Result<Route, StoreError> {
        let unreadable = || {
            refused(
                "the URL of the server cannot be read: write redis://HOST:6379, \
                 redis://HOST,HOST for the nodes of a cluster, or \
                 redis-sentinel://HOST,HOST#NAME for the primary that sentinels know by a name",
            )
        };
        let (scheme, rest) = self.url.split_once("://").ok_or_else(unreadable)?;
        let (scheme, is_sentinel) = match scheme {
            "redis-sentinel" => ("redis", true),
            "rediss-sentinel" => ("rediss", true),
            _ => (scheme, false),
        };
        let (rest, name) = match rest.split_once('#') {
            Some((rest, name)) if is_sentinel && !name.is_empty() => (rest, Some(name)),
            _ if is_sentinel => return Err(unreadable()),
            _ => (rest, None),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let at = authority.rfind('@').map_or(0, |at| at + 1);
        let (login, hosts) = authority.split_at(at);

        let is_secure = self.check(scheme)?;
        let clients = hosts.split(',').map(|host| {
            let port = match name {
                Some(_) if !has_port(host) => format!(":{SENTINEL}"),
                _ => String::new(),
            };
            self.client(&format!("{scheme}://{login}{host}{port}{path}"), is_secure)
        });
        let clients: Option<Vec<Client>> = clients.collect();
        let clients = clients.ok_or_else(unreadable)?;
        Ok(Route::to(
            clients,
            name.map(|name| Master {
                name: name.to_owned(),
                login: self.sentinel_login.clone(),
                certificates: is_secure.then(|| self.certificates.clone()),
            }),
        ))
    }

    fn client(&self, url: &str, is_secure: bool) -> Option<Client> {
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = url.into_connection_info().ok()?.set_tcp_settings(tcp);
        let client = if is_secure {
            Client::build_with_tls(info, self.certificates.clone())
        } else {
            Client::open(info)
        };
        client.ok()
    }

    /// Checks the certificates. Returns whether connections are encrypted.
    fn check(&self, scheme: &str) -> Result<bool, StoreError> {
        let TlsCertificates {
            client_tls,
            root_cert,
        } = &self.certificates;
        let is_secure = matches!(scheme, "rediss" | "valkeys");
        if !is_secure && (client_tls.is_some() || root_cert.is_some()) {
            return Err(refused(
                "certificates were given, and the URL does not ask for TLS: begin it with rediss://",
            ));
        }
        let has_certificate =
            |pem: &[u8]| matches!(CertificateDer::pem_slice_iter(pem).next(), Some(Ok(_)));
        if root_cert.as_ref().is_some_and(|pem| !has_certificate(pem)) {
            return Err(refused(
                "the root certificate cannot be read: give it in PEM form",
            ));
        }
        // The client reads them as it will when it connects.
        if is_secure && client_tls.is_some() {
            let probe = Client::build_with_tls("rediss://localhost", self.certificates.clone());
            probe.map_err(|_| {
                refused("the client's certificate or its key cannot be read: give both in PEM form")
            })?;
        }
        Ok(is_secure)
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit(']').next().is_some_and(|end| end.contains(':'))
}

fn refused(message: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Refused, message)
}
