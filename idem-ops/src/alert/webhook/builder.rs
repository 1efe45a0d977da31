//! Builds a webhook channel and checks it.

use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;
use url::Url;

use super::Webhook;
use super::config_error::WebhookConfigError;
use super::service::Service;
use crate::loopback::is_loopback;
use crate::secret::Secret;
use crate::tls;

const TIMEOUT: Duration = Duration::from_secs(15);

/// A builder of [`Webhook`], from [`Webhook::json`], [`Webhook::slack`] and the other constructors.
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before `build`"]
pub struct WebhookBuilder {
    service: &'static dyn Service,
    url: Secret,
    secret: Option<Secret>,
    name: Option<String>,
    timeout: Duration,
    roots: Vec<Vec<u8>>,
}

impl WebhookBuilder {
    pub(super) fn new(service: &'static dyn Service, url: Secret) -> Self {
        Self {
            service,
            url,
            secret: None,
            name: None,
            timeout: TIMEOUT,
            roots: Vec::new(),
        }
    }

    /// Sets the secret that signs messages: required by [`Webhook::json`], optional for a Feishu bot
    /// or a DingTalk robot, refused by Slack and WeCom.
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Sets the channel's name in errors, logs and the dashboard; `webhook`, `slack`, `feishu`,
    /// `dingtalk` or `wecom` by default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Limits the time from the first packet to the end of the answer; 15 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Adds root certificates to trust beside the system's, PEM: for a certificate authority of your
    /// own.
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots.push(pem.into());
        self
    }

    /// Checks the configuration and builds the channel. It does not connect to the receiver.
    ///
    /// # Errors
    ///
    /// [`WebhookConfigError`], when something is missing or wrong.
    pub fn build(self) -> Result<Webhook, WebhookConfigError> {
        let url: Url = self
            .url
            .expose()
            .parse()
            .map_err(|error: url::ParseError| WebhookConfigError::Url {
                reason: error.to_string(),
            })?;
        let host = url.host().ok_or_else(|| WebhookConfigError::Url {
            reason: "it has no host".to_owned(),
        })?;
        let loopback = is_loopback(&host);
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            _ => return Err(WebhookConfigError::NotHttps),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(WebhookConfigError::Url {
                reason: "it contains a user or a password".to_owned(),
            });
        }
        self.service.check(self.secret.as_ref())?;
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
