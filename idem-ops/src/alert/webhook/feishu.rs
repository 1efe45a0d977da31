//! The custom bots of Feishu and Lark.

use idem_runtime::clock::Timestamp;
use serde_json::{Value, json};

use super::markup::{self, Markup};
use super::sign;
use crate::alert::text::Story;
use crate::secret::Secret;

/// Bytes of text, as JSON writes them. The whole request may have 20 KB; the rest of it is well
/// below 2.
const TEXT: usize = 17_000;

/// A card's plain text knows no markup at all.
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

pub(super) fn body(story: &Story, secret: Option<&Secret>, now: Timestamp) -> Value {
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
    if let Some(secret) = secret {
        let seconds = now.as_second();
        body["timestamp"] = json!(seconds.to_string());
        body["sign"] = json!(sign::feishu(secret, seconds));
    }
    body
}
