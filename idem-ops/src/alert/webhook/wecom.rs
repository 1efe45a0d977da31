//! WeCom's group robots.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::answer::{MINUTE, Refusal, TOO_MANY, robot};
use super::config_error::WebhookConfigError;
use super::dingtalk::Markdown;
use super::markup;
use super::service::{Message, Service, no_secret};
use crate::alert::Retry;
use crate::secret::Secret;

/// The most bytes of the content, in UTF-8.
const CONTENT: usize = 4_096;

#[derive(Debug)]
pub(super) struct WeCom;

impl Service for WeCom {
    fn name(&self) -> &'static str {
        "wecom"
    }

    fn check(&self, secret: Option<&Secret>) -> Result<(), WebhookConfigError> {
        no_secret(self.name(), secret)
    }

    fn body(&self, message: &Message<'_>) -> Value {
        let lines = markup::story(&Markdown, &message.story);
        let content = markup::fit(&lines, "\n", CONTENT, str::len);
        json!({ "msgtype": "markdown", "markdown": { "content": content } })
    }

    fn judge(&self, status: StatusCode, answer: &str) -> Result<(), Refusal> {
        robot(status, answer, ("errcode", "errmsg"), |code| match code {
            45009 => Some((Retry::After(MINUTE), TOO_MANY)),
            93000 => Some((
                Retry::Never,
                "the robot is gone: make a new one and give its address",
            )),
            _ => None,
        })
    }
}
