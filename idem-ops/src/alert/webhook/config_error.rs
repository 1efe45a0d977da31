//! Errors of a webhook's configuration.

/// An error of a webhook's configuration. It contains neither address nor secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookConfigError {
    /// The address is not a URL that can be used.
    #[error("the webhook's address cannot be used ({reason}): write `https://host/path`")]
    Url {
        /// Why it was refused.
        reason: String,
    },
    /// Alerts would leave this machine unprotected.
    #[error("the webhook's address is not `https`: `http` is for the loopback only")]
    NotHttps,
    /// A JSON webhook has no secret to sign with.
    #[error("a JSON webhook is signed: give `secret`, and the same one to the receiver")]
    NoSecret,
    /// The secret is empty, or is not a key of Standard Webhooks although it begins like one.
    #[error("the webhook's secret is empty, or begins with `whsec_` and is not base64 after it")]
    BadSecret,
    /// The service signs nothing.
    #[error("{service} signs nothing: leave `secret` out, its token is in the address")]
    NeedlessSecret {
        /// The service.
        service: &'static str,
    },
    /// The timeout is zero.
    #[error("a timeout of zero would fail every alert: 15 s is usual")]
    NoTime,
    /// The root certificates cannot be read or trusted.
    #[error(
        "the root certificates cannot be used ({reason}): PEM with `BEGIN CERTIFICATE` is expected"
    )]
    Certificate {
        /// Why.
        reason: String,
    },
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be built ({reason})")]
    Client {
        /// Why.
        reason: String,
    },
}
