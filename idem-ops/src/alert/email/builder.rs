//! How to reach a mail server, checked when it is built.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use url::{Host, Url};

use super::config_error::EmailConfigError;
use super::connection::Server;
use super::{Email, Protection};
use crate::files;
use crate::loopback;
use crate::secret::Secret;

const TIMEOUT: Duration = Duration::from_secs(30);

/// How alerts go out by mail; from [`Email::smtp`].
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before `build`"]
pub struct EmailBuilder {
    /// It may hold a password, which is refused, and should not be shown before.
    url: Secret,
    name: String,
    from: Option<String>,
    to: Vec<String>,
    password: Option<Password>,
    roots: Vec<Root>,
    timeout: Duration,
    hello: Option<String>,
}

#[derive(Debug, Clone)]
enum Password {
    Here(Secret),
    File(PathBuf),
    Variable(String),
}

#[derive(Debug, Clone)]
enum Root {
    Pem(Vec<u8>),
    File(PathBuf),
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

    /// The sender: `alerts@example.com` or `idem <alerts@example.com>`. Its domain is that of the
    /// mails' ids.
    pub fn from(mut self, address: impl Into<String>) -> Self {
        self.from = Some(address.into());
        self
    }

    /// One more address that gets every mail.
    pub fn to(mut self, address: impl Into<String>) -> Self {
        self.to.push(address.into());
        self
    }

    /// The password of the user in the server's address.
    pub fn password(mut self, password: Secret) -> Self {
        self.password = Some(Password::Here(password));
        self
    }

    /// The file with the password; read in [`build`](Self::build).
    pub fn password_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.password = Some(Password::File(path.into()));
        self
    }

    /// The environment variable with the password; read in [`build`](Self::build).
    pub fn password_env(mut self, name: impl Into<String>) -> Self {
        self.password = Some(Password::Variable(name.into()));
        self
    }

    /// One more root certificate to trust, PEM, beside the system's: for a certificate authority of
    /// your own.
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots.push(Root::Pem(pem.into()));
        self
    }

    /// The file with one more root certificate to trust, PEM; read in [`build`](Self::build).
    pub fn root_certificate_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.roots.push(Root::File(path.into()));
        self
    }

    /// How long one alert may take from the first packet to the server's last answer; 30 s unless
    /// given.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The channel's name in errors, logs and the dashboard; `email` unless given.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How this machine introduces itself to the server (`EHLO`); its host name unless given.
    pub fn hello_name(mut self, domain: impl Into<String>) -> Self {
        self.hello = Some(domain.into());
        self
    }

    /// Checks all of it. Nothing is sent, and the server need not be there.
    ///
    /// # Errors
    ///
    /// What is wrong or missing, and how it should be.
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
        let password = match self.password {
            Some(Password::Here(password)) => Some(password),
            Some(Password::File(path)) => Some(Secret::from_file(path)?),
            Some(Password::Variable(name)) => Some(Secret::from_env(&name)?),
            None => None,
        };
        let mut hidden = Vec::new();
        let credentials = match (address.user, password) {
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
        Ok(Email::new(self.name, server, from, to, self.timeout))
    }
}

/// How the password goes over the wire, so that a server that repeats what it got does not have it
/// shown.
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

/// What the server's address says.
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
        // Schemes that the URL standard does not know leave an address as text.
        let bare = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(EmailConfigError::Url {
                reason: "only host, port, user and `tls` may be in it".to_owned(),
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
            user => Some(percent_decoded(user)?),
        };
        Ok(Self {
            host: bare,
            port,
            user,
            protection,
        })
    }
}

/// `%40` in a user's name is an `@`.
fn percent_decoded(user: &str) -> Result<String, EmailConfigError> {
    let decoded = url::form_urlencoded::parse(user.replace('+', "%2B").as_bytes())
        .map(|(name, _)| name.into_owned())
        .next()
        .filter(|name| !name.contains(char::is_control));
    decoded.ok_or_else(|| EmailConfigError::Url {
        reason: "the user's name cannot be read".to_owned(),
    })
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

fn tls(host: &str, roots: &[Root]) -> Result<TlsParameters, EmailConfigError> {
    let bad = |reason: String| EmailConfigError::Certificate { reason };
    let mut builder = TlsParameters::builder(host.to_owned());
    for root in roots {
        let certificate = match root {
            Root::Pem(pem) => certificate(pem).map_err(bad)?,
            Root::File(path) => {
                let pem = files::read(path, files::CERTIFICATES).map_err(|error| {
                    EmailConfigError::CertificateFile {
                        path: path.clone(),
                        kind: error.kind(),
                    }
                })?;
                certificate(&pem)
                    .map_err(|reason| bad(format!("{reason} in `{}`", path.display())))?
            }
        };
        builder = builder.add_root_certificate(certificate);
    }
    builder
        .build_rustls()
        .map_err(|error| bad(error.to_string()))
}

/// lettre takes a text without any certificate in it for no certificate at all.
fn certificate(pem: &[u8]) -> Result<Certificate, String> {
    let begins = b"-----BEGIN CERTIFICATE-----";
    if !pem.windows(begins.len()).any(|window| window == begins) {
        return Err("no `BEGIN CERTIFICATE`".to_owned());
    }
    Certificate::from_pem(pem).map_err(|error| error.to_string())
}
