//! Signed JSON to a receiver of one's own.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::answer::Refusal;
use super::config_error::WebhookConfigError;
use super::service::{Message, Request, Service};
use super::sign::{key, sign};
use crate::secret::Secret;

#[derive(Debug)]
pub(super) struct Json;

impl Service for Json {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn check(&self, secret: Option<&Secret>) -> Result<(), WebhookConfigError> {
        let secret = secret.ok_or(WebhookConfigError::NoSecret)?;
        key(secret).ok_or(WebhookConfigError::BadSecret).map(|_| ())
    }

    fn body(&self, message: &Message<'_>) -> Value {
        let notice = message.notice;
        json!({ "version": 1, "subject": notice.subject(), "text": notice.text(), "notice": notice })
    }

    fn sign(&self, secret: &Secret, message: &Message<'_>, request: &mut Request) {
        let id = message.notice.id.to_string();
        let seconds = message.now.as_second();
        let signature = sign(secret, &id, seconds, request.body.as_bytes());
        request.headers.extend([
            ("webhook-id", id),
            ("webhook-timestamp", seconds.to_string()),
            ("webhook-signature", signature),
        ]);
    }

    fn judge(&self, _: StatusCode, _: &str) -> Result<(), Refusal> {
        Ok(())
    }
}
