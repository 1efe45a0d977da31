//! WeCom's group robots.

use serde_json::{Value, json};

use super::dingtalk::Markdown;
use super::markup;
use crate::alert::text::Story;

/// Bytes of the content, in UTF-8.
const CONTENT: usize = 4_096;

pub(super) fn body(story: &Story) -> Value {
    let lines = markup::story(&Markdown, story);
    json!({ "msgtype": "markdown", "markdown": { "content": markup::fit(&lines, "\n", CONTENT, str::len) } })
}
