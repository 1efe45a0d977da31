//! Builds a mail channel and checks it.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::Email;
use super::config_error::EmailConfigError;
use super::server::{Protection, Server};
use crate::loopback;
use crate::secret::Secret;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A builder of [`Email`], from [`Email::smtp`].
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before `build`"]
pub struct EmailBuilder {
    /// Secret, because an address with a password is refused but must not be shown.
    url: Secret,
    name: String,
    from: Option<String>,
    to: Vec<String>,
    password: Option<Secret>,
    roots: Vec<Vec<u8>>,
    timeout: Duration,
    hello: Option<String>,
}

impl EmailBuilder {
    pub(super) fn new(url: Secret) -> Self {
        Self {
            url,
            name: "email".to_owned(),
            from: None,
            to: Vec::new(),
            password: None,
            roots: Vec::new(),
            timeout: TIMEOUT,
            hello: None,
        }
    }

    /// Sets the sender: `alerts@example.com` or `idem <alerts@example.com>`. The mails' ids have its
    /// domain.
    pub fn from(mut self, address: impl Into<String>) -> Self {
        self.from = Some(address.into());
        self
    }

    /// Adds an address that gets every mail.
    pub fn to(mut self, address: impl Into<String>) -> Self {
        self.to.push(address.into());
        self
    }

    /// Sets the password of the user in the server's address.
    pub fn password(mut self, password: Secret) -> Self {
        self.password = Some(password);
        self
    }

    /// Adds root certificates to trust beside the system's, PEM: for a certificate authority of your
    /// own.
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots.push(pem.into());
        self
    }

    /// Limits the time from the first packet to the server's last answer, over all addresses; 30 s by
    /// default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the channel's name in errors, logs and the dashboard; `email` by default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the name that this machine gives in `EHLO`; its host name by default.
    pub fn hello_name(mut self, domain: impl Into<String>) -> Self {
        self.hello = Some(domain.into());
        self
    }

    /// Checks the configuration and builds the channel. It does not connect to the server.
    ///
    /// # Errors
    ///
    /// [`EmailConfigError`], when something is missing or wrong.
    pub fn build(self) -> Result<Email, EmailConfigError> {
        let address = Address::parse(self.url.expose())?;
        let from = mailbox(self.from.as_deref().ok_or(EmailConfigError::NoFrom)?)?;
        let to = self
            .to
            .iter()
            .map(|text| mailbox(text))
            .collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err(EmailConfigError::NoTo);
        }
        if self.timeout.is_zero() {
            return Err(EmailConfigError::NoTime);
        }
        let mut hidden = Vec::new();
        let credentials = match (address.user, self.password) {
            (Some(user), Some(password)) => {
                hidden = spellings(&user, &password);
                Some(Credentials::new(user, password.expose().to_owned()))
            }
            (None, None) => None,
            (Some(user), None) => return Err(EmailConfigError::NoPassword { user }),
            (None, Some(_)) => return Err(EmailConfigError::NoUser),
        };
        let tls = match address.protection {
            Protection::Plain => None,
            Protection::StartTls | Protection::Implicit => Some(tls(&address.host, &self.roots)?),
        };
        let hello = match self.hello {
            Some(domain)
                if domain.bytes().all(|byte| byte.is_ascii_graphic()) && !domain.is_empty() =>
            {
                ClientId::Domain(domain)
            }
            Some(domain) => return Err(EmailConfigError::Hello { domain }),
            None => ClientId::default(),
        };
        let server = Server {
            host: address.host,
            port: address.port,
            protection: address.protection,
            tls,
            credentials,
            hidden,
            hello,
        };
        Ok(Email {
            name: self.name,
            server,
            from,
            to,
            timeout: self.timeout,
            delivered: Mutex::default(),
        })
    }
}

/// Returns the password as it goes over the wire, so that no error shows it when the server repeats
/// it.
fn spellings(user: &str, password: &Secret) -> Vec<Secret> {
    let password = password.expose();
    let login = STANDARD.encode(password);
    let plain = STANDARD.encode(format!("\0{user}\0{password}"));
    vec![
        Secret::new(plain),
        Secret::new(login),
        Secret::new(password),
    ]
}

/// The parsed address of the server.
struct Address {
    host: String,
    port: u16,
    user: Option<String>,
    protection: Protection,
}

impl Address {
    fn parse(text: &str) -> Result<Self, EmailConfigError> {
        let url = Url::parse(text).map_err(|error| EmailConfigError::Url {
            reason: error.to_string(),
        })?;
        if url.password().is_some() {
            return Err(EmailConfigError::PasswordInUrl);
        }
        let implicit = match url.scheme() {
            "smtp" => false,
            "smtps" => true,
            scheme => {
                return Err(EmailConfigError::Scheme {
                    scheme: scheme.to_owned(),
                });
            }
        };
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or(EmailConfigError::NoHost)?;
        // The URL standard leaves the host of an unknown scheme as text.
        let bare = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(EmailConfigError::Url {
                reason: "it can contain only host, port, user and `tls`".to_owned(),
            });
        }
        let mut protection = if implicit {
            Protection::Implicit
        } else {
            Protection::StartTls
        };
        for (name, value) in url.query_pairs() {
            protection = match (name.as_ref(), value.as_ref()) {
                ("tls", "required") => protection,
                ("tls", "none") if implicit => {
                    return Err(EmailConfigError::Tls {
                        value: value.into_owned(),
                    });
                }
                ("tls", "none") if is_loopback(&bare) => Protection::Plain,
                ("tls", "none") => return Err(EmailConfigError::PlainOverNetwork { host: bare }),
                ("tls", _) => {
                    return Err(EmailConfigError::Tls {
                        value: value.into_owned(),
                    });
                }
                _ => {
                    return Err(EmailConfigError::Option {
                        name: name.into_owned(),
                    });
                }
            };
        }
        let port = url.port().unwrap_or(match protection {
            Protection::Implicit => 465,
            Protection::StartTls => 587,
            Protection::Plain => 25,
        });
        let user = match url.username() {
            "" => None,
            user => Some(decoded(user)?),
        };
        Ok(Self {
            host: bare,
            port,
            user,
            protection,
        })
    }
}

/// Decodes a user's name, in which `%40` is an `@`.
fn decoded(user: &str) -> Result<String, EmailConfigError> {
    let user = percent_decode_str(user).decode_utf8_lossy().into_owned();
    if user.contains(char::is_control) {
        return Err(EmailConfigError::Url {
            reason: "the user's name contains a control character".to_owned(),
        });
    }
    Ok(user)
}

fn is_loopback(host: &str) -> bool {
    match Host::parse(host) {
        Ok(host) => loopback::is_loopback(&host),
        // Without the brackets that an IPv6 address has in a URL.
        Err(_) => host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
    }
}

fn mailbox(text: &str) -> Result<Mailbox, EmailConfigError> {
    let bad = |reason: &str| EmailConfigError::Address {
        text: text.escape_debug().to_string(),
        reason: reason.into(),
    };
    if text.contains(char::is_control) {
        return Err(bad("a control character is in it"));
    }
    text.trim()
        .parse()
        .map_err(|error: lettre::address::AddressError| bad(&error.to_string()))
}

fn tls(host: &str, roots: &[Vec<u8>]) -> Result<TlsParameters, EmailConfigError> {
    let bad = |reason: String| EmailConfigError::Certificate { reason };
    let mut builder = TlsParameters::builder(host.to_owned());
    for pem in roots {
        builder = builder.add_root_certificate(certificate(pem).map_err(bad)?);
    }
    builder
        .build_rustls()
        .map_err(|error| bad(error.to_string()))
}

/// Reads a certificate. lettre takes a text without any for an empty list.
fn certificate(pem: &[u8]) -> Result<Certificate, String> {
    let begins = b"-----BEGIN CERTIFICATE-----";
    if !pem.windows(begins.len()).any(|window| window == begins) {
        return Err("no `BEGIN CERTIFICATE`".to_owned());
    }
    Certificate::from_pem(pem).map_err(|error| error.to_string())
}
