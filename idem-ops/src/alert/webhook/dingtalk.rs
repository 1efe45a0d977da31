//! DingTalk's custom robots.

use idem_runtime::clock::Timestamp;
use serde_json::{Value, json};
use url::Url;

use super::markup::{self, Markup, link_target, wide};
use super::sign as signature;
use crate::alert::text::Story;
use crate::secret::Secret;

/// Bytes of the message, as JSON writes them: below the 20,000 above which the robot refuses a
/// body.
const TEXT: usize = 18_000;

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

pub(super) fn body(story: &Story) -> Value {
    let lines = markup::story(&Markdown, story);
    let text = markup::fit(&lines, "\n\n", TEXT, |text| json!(text).to_string().len());
    // Said outright: whatever the text holds, nobody is pinged.
    let at = json!({ "isAtAll": false, "atMobiles": [], "atUserIds": [] });
    json!({ "msgtype": "markdown", "markdown": { "title": wide(&story.subject), "text": text }, "at": at })
}

/// Adds `timestamp` and `sign` to the robot's address.
pub(super) fn sign(url: &mut Url, secret: &Secret, now: Timestamp) {
    let milliseconds = now.as_millisecond();
    let sign = signature::dingtalk(secret, milliseconds);
    url.query_pairs_mut()
        .append_pair("timestamp", &milliseconds.to_string())
        .append_pair("sign", &sign);
}
