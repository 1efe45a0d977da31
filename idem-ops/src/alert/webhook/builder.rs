//! Where a webhook goes, checked when it is built.

use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;
use url::Url;

use super::{Service, Webhook, sign};
use crate::loopback::is_loopback;
use crate::secret::Secret;
use crate::tls;

const TIMEOUT: Duration = Duration::from_secs(15);

/// How alerts go out over HTTP; from [`Webhook::json`], [`Webhook::slack`] and their like.
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before `build`"]
pub struct WebhookBuilder {
    service: Service,
    url: Secret,
    secret: Option<Secret>,
    name: Option<String>,
    timeout: Duration,
    roots: Vec<Vec<u8>>,
}

impl WebhookBuilder {
    pub(super) fn new(service: Service, url: Secret) -> Self {
        Self {
            service,
            url,
            secret: None,
            name: None,
            timeout: TIMEOUT,
            roots: Vec::new(),
        }
    }

    /// What messages are signed with: required by [`Webhook::json`], for a Feishu bot or a DingTalk
    /// robot what its settings show, unknown to Slack and WeCom.
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// The channel's name in errors, logs and the dashboard; `webhook`, `slack`, `feishu`,
    /// `dingtalk` or `wecom` unless given.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How long one alert may take to the end of the answer; 15 s unless given.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Root certificates to trust beside the system's, PEM: for a certificate authority of your
    /// own.
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots.push(pem.into());
        self
    }

    /// Checks all of it. Nothing is sent.
    ///
    /// # Errors
    ///
    /// What is wrong or missing. The address is not in it, for it may hold a token.
    pub fn build(self) -> Result<Webhook, WebhookConfigError> {
        let url: Url = self
            .url
            .expose()
            .parse()
            .map_err(|error: url::ParseError| WebhookConfigError::Url {
                reason: error.to_string(),
            })?;
        let host = url.host().ok_or_else(|| WebhookConfigError::Url {
            reason: "no host in it".to_owned(),
        })?;
        let loopback = is_loopback(&host);
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            _ => return Err(WebhookConfigError::NotHttps),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(WebhookConfigError::Url {
                reason: "user and password in it are not supported".to_owned(),
            });
        }
        match (self.service, &self.secret) {
            (Service::Json, None) => return Err(WebhookConfigError::NoSecret),
            (Service::Json, Some(secret)) if sign::key(secret).is_none() => {
                return Err(WebhookConfigError::BadSecret);
            }
            (Service::Slack | Service::WeCom, Some(_)) => {
                return Err(WebhookConfigError::NeedlessSecret {
                    service: self.service.name(),
                });
            }
            _ => {}
        }
        if self.timeout.is_zero() {
            return Err(WebhookConfigError::NoTime);
        }
        let roots = self
            .roots
            .iter()
            .map(|pem| tls::certificates(pem))
            .collect::<Result<Vec<_>, _>>();
        let tls = roots.and_then(|roots| tls::client(url.scheme() == "https", roots.concat()));
        let mut client = Client::builder()
            .tls_backend_preconfigured(
                tls.map_err(|reason| WebhookConfigError::Certificate { reason })?,
            )
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .user_agent(concat!("idem-ops/", env!("CARGO_PKG_VERSION")));
        if loopback {
            client = client.no_proxy();
        }
        let client = client.build().map_err(|error| WebhookConfigError::Client {
            reason: error.to_string(),
        })?;
        Ok(Webhook {
            name: self.name.unwrap_or_else(|| self.service.name().to_owned()),
            service: self.service,
            url,
            secret: self.secret,
            client,
            timeout: self.timeout,
        })
    }
}

/// What is wrong with how a webhook is to be sent. Neither address nor secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookConfigError {
    /// It is no address.
    #[error("the webhook's address cannot be used ({reason}): write `https://host/path`")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// Unprotected beyond this machine.
    #[error("the webhook's address is not `https`: `http` is for the loopback only")]
    NotHttps,
    /// Without a signature anybody could send alerts.
    #[error("a JSON webhook is signed: give `secret`, and the same one to the receiver")]
    NoSecret,
    /// It begins as a key of Standard Webhooks does and is none.
    #[error("the webhook's secret is empty, or begins with `whsec_` and is not base64 after it")]
    BadSecret,
    /// Nothing would be signed with it.
    #[error("{service} signs nothing: leave `secret` out, its token is in the address")]
    NeedlessSecret {
        /// Whose webhook.
        service: &'static str,
    },
    /// A timeout of zero.
    #[error("a timeout of zero would fail every alert: 15 s is usual")]
    NoTime,
    /// It is no certificate, or none can be trusted.
    #[error(
        "the root certificates cannot be used ({reason}): PEM with `BEGIN CERTIFICATE` is expected"
    )]
    Certificate {
        /// What is wrong.
        reason: String,
    },
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made ({reason})")]
    Client {
        /// What is wrong.
        reason: String,
    },
}
