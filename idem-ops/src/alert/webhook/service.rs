//! What each service that takes alerts over HTTP decides for itself.

use std::fmt;

use idem_runtime::clock::Timestamp;
use reqwest::StatusCode;
use serde_json::Value;
use url::Url;

use super::answer::Refusal;
use super::config_error::WebhookConfigError;
use crate::alert::Notice;
use crate::alert::text::Story;
use crate::secret::Secret;

/// A service that takes alerts over HTTP. A new one is a file with this trait, a constructor of
/// [`Webhook`](super::Webhook) and a kind in the configuration.
pub(super) trait Service: fmt::Debug + Send + Sync {
    /// Returns the channel's default name.
    fn name(&self) -> &'static str;

    /// Checks the secret when the channel is built. By default, a service needs none and takes any.
    fn check(&self, _secret: Option<&Secret>) -> Result<(), WebhookConfigError> {
        Ok(())
    }

    /// Returns the message as JSON.
    fn body(&self, message: &Message<'_>) -> Value;

    /// Signs the request outside of its body, if the service wants that.
    fn sign(&self, _secret: &Secret, _message: &Message<'_>, _request: &mut Request) {}

    /// Decides what the body of a successful answer means.
    fn judge(&self, status: StatusCode, answer: &str) -> Result<(), Refusal>;
}

/// A notice that is being sent.
pub(super) struct Message<'a> {
    pub(super) notice: &'a Notice,
    pub(super) story: Story,
    pub(super) secret: Option<&'a Secret>,
    /// The time of this try.
    pub(super) now: Timestamp,
}

/// The parts of a request that a signature depends on or adds to.
pub(super) struct Request {
    pub(super) url: Url,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

/// Refuses the secret of a service that signs nothing.
pub(super) fn no_secret(
    service: &'static str,
    secret: Option<&Secret>,
) -> Result<(), WebhookConfigError> {
    match secret {
        Some(_) => Err(WebhookConfigError::NeedlessSecret { service }),
        None => Ok(()),
    }
}
