//! DingTalk's custom robots.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::answer::{Refusal, TOO_MANY, robot};
use super::markup::{self, Markup, link_target, wide};
use super::service::{Message, Request, Service};
use super::sign::hmac;
use crate::alert::Retry;
use crate::secret::Secret;

/// The most bytes of the message, as JSON writes them: the robot refuses a body above 20,000.
const TEXT: usize = 18_000;
/// DingTalk silences a robot that was too fast for this long.
const SILENCED: Duration = Duration::from_secs(10 * 60);

pub(super) struct Markdown;

impl Markup for Markdown {
    fn plain(&self, text: &str) -> String {
        wide(text)
    }

    fn bold(&self, text: &str) -> String {
        format!("**{}**", wide(text))
    }

    fn link(&self, text: &str, url: &str) -> String {
        format!("[{}]({})", wide(text), link_target(url))
    }
}

#[derive(Debug)]
pub(super) struct DingTalk;

impl Service for DingTalk {
    fn name(&self) -> &'static str {
        "dingtalk"
    }

    fn body(&self, message: &Message<'_>) -> Value {
        let story = &message.story;
        let lines = markup::story(&Markdown, story);
        let text = markup::fit(&lines, "\n\n", TEXT, |text| json!(text).to_string().len());
        // Explicit, so that the text pings no person.
        let at = json!({ "isAtAll": false, "atMobiles": [], "atUserIds": [] });
        json!({ "msgtype": "markdown", "markdown": { "title": wide(&story.subject), "text": text }, "at": at })
    }

    /// Adds `timestamp` and `sign` to the robot's address.
    fn sign(&self, secret: &Secret, message: &Message<'_>, request: &mut Request) {
        let milliseconds = message.now.as_millisecond();
        request
            .url
            .query_pairs_mut()
            .append_pair("timestamp", &milliseconds.to_string())
            .append_pair("sign", &signature(secret, milliseconds));
    }

    fn judge(&self, status: StatusCode, answer: &str) -> Result<(), Refusal> {
        robot(status, answer, ("errcode", "errmsg"), |code| match code {
            130_101 | 410_100 | 660_026 | 90_030 => Some((Retry::After(SILENCED), TOO_MANY)),
            310_000 => Some((
                Retry::Never,
                "check the secret, the clock, the keyword `idem` and the address list",
            )),
            _ => None,
        })
    }
}

/// Returns DingTalk's `sign`: timestamp and secret are signed with the secret.
fn signature(secret: &Secret, milliseconds: i64) -> String {
    let text = format!("{milliseconds}\n{}", secret.expose());
    STANDARD.encode(hmac(secret.expose().as_bytes(), &[text.as_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Python's `hmac` of "1599360473123\nSECdemo" under "SECdemo", as in DingTalk's document.
    #[test]
    fn the_signature_is_that_of_the_document() {
        assert_eq!(
            signature(&Secret::new("SECdemo"), 1_599_360_473_123),
            "1HQs9f3cSAHzovKqY78he1KVa4lpHx38oe3kOWE08vc="
        );
    }
}
