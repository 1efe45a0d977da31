//! The custom bots of Feishu and Lark.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::answer::{MINUTE, Refusal, TOO_MANY, robot};
use super::markup::{self, Markup};
use super::service::{Message, Service};
use super::sign::hmac;
use crate::alert::Retry;
use crate::secret::Secret;

/// The most bytes of text, as JSON writes them. The whole request may have 20 KB, of which the rest
/// takes less than 2.
const TEXT: usize = 17_000;

/// A card's plain text, which has no markup.
struct PlainText;

impl Markup for PlainText {
    fn plain(&self, text: &str) -> String {
        text.to_owned()
    }

    fn bold(&self, text: &str) -> String {
        text.to_owned()
    }

    fn link(&self, text: &str, _: &str) -> String {
        text.to_owned()
    }
}

#[derive(Debug)]
pub(super) struct Feishu;

impl Service for Feishu {
    fn name(&self) -> &'static str {
        "feishu"
    }

    fn body(&self, message: &Message<'_>) -> Value {
        let story = &message.story;
        let mut lines = markup::story(&PlainText, story);
        // The subject is the card's title.
        lines.remove(0);
        let text = markup::fit(&lines, "\n", TEXT, |text| json!(text).to_string().len());
        let mut elements =
            vec![json!({ "tag": "div", "text": { "tag": "plain_text", "content": text } })];
        if let Some(url) = &story.link {
            let label = json!({ "tag": "plain_text", "content": "Look and act" });
            let button = json!({ "tag": "button", "type": "primary", "text": label, "url": url });
            elements.push(json!({ "tag": "action", "actions": [button] }));
        }
        let title = json!({ "tag": "plain_text", "content": story.subject });
        let card = json!({
            "config": { "wide_screen_mode": true },
            "header": { "template": "red", "title": title },
            "elements": elements,
        });
        let mut body = json!({ "msg_type": "interactive", "card": card });
        if let Some(secret) = message.secret {
            let seconds = message.now.as_second();
            body["timestamp"] = json!(seconds.to_string());
            body["sign"] = json!(signature(secret, seconds));
        }
        body
    }

    fn judge(&self, status: StatusCode, answer: &str) -> Result<(), Refusal> {
        robot(status, answer, ("code", "msg"), |code| match code {
            11232 | 99_991_400 => Some((Retry::After(MINUTE), TOO_MANY)),
            19021 => Some((Retry::Never, "check the secret, and this machine's clock")),
            19022 => Some((Retry::Never, "put this machine's address on the bot's list")),
            19024 => Some((Retry::Never, "make `idem` the bot's keyword")),
            _ => None,
        })
    }
}

/// Returns Feishu's `sign`: the key is timestamp and secret, and the signed text is empty.
fn signature(secret: &Secret, seconds: i64) -> String {
    let key = format!("{seconds}\n{}", secret.expose());
    STANDARD.encode(hmac(key.as_bytes(), &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Python's `hmac` of an empty text under "1599360473\nSECdemo", as in Feishu's document.
    #[test]
    fn the_signature_is_that_of_the_document() {
        assert_eq!(
            signature(&Secret::new("SECdemo"), 1_599_360_473),
            "UNvK0aHeWrPUMl0ySOUpIoYdvBDU1mnjgkbX5JtMxkk="
        );
    }
}
