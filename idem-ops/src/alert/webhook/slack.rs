//! Slack's incoming webhooks.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::answer::{Refusal, unexpected};
use super::config_error::WebhookConfigError;
use super::markup::{self, Markup};
use super::service::{Message, Service, no_secret};
use crate::secret::Secret;

/// The most characters of one block's text.
const BLOCK: usize = 3_000;

struct Mrkdwn;

impl Markup for Mrkdwn {
    fn plain(&self, text: &str) -> String {
        // Slack has escapes for these three; characters that only decorate are replaced.
        let text = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        text.replace('*', "∗").replace('`', "ˋ").replace('~', "∼")
    }

    fn bold(&self, text: &str) -> String {
        format!("*{}*", self.plain(text))
    }

    fn link(&self, text: &str, url: &str) -> String {
        let url = url
            .replace('&', "&amp;")
            .replace('|', "%7C")
            .replace('<', "%3C")
            .replace('>', "%3E");
        // In a link's text a bar would be a second separator.
        format!("<{url}|{}>", self.plain(text).replace('|', "∣"))
    }
}

#[derive(Debug)]
pub(super) struct Slack;

impl Service for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn check(&self, secret: Option<&Secret>) -> Result<(), WebhookConfigError> {
        no_secret(self.name(), secret)
    }

    fn body(&self, message: &Message<'_>) -> Value {
        let story = &message.story;
        let first = vec![Mrkdwn.bold(&story.subject), Mrkdwn.plain(&story.intro)];
        let groups = story
            .groups
            .iter()
            .map(|group| markup::group(&Mrkdwn, group));
        let sections = [first]
            .into_iter()
            .chain(groups)
            .chain([markup::last(&Mrkdwn, story)]);
        let blocks: Vec<_> = sections
            .map(|lines| markup::fit(&lines, "\n", BLOCK, |text| text.chars().count()))
            .map(|text| json!({ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } }))
            .collect();
        // `text` is what notifications show.
        json!({ "text": Mrkdwn.plain(&story.subject), "blocks": blocks })
    }

    fn judge(&self, status: StatusCode, answer: &str) -> Result<(), Refusal> {
        if answer.trim() == "ok" {
            return Ok(());
        }
        Err(unexpected(status, answer))
    }
}
