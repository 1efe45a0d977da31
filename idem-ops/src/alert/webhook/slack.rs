//! Slack's incoming webhooks.

use serde_json::{Value, json};

use super::markup::{self, Markup};
use crate::alert::text::Story;

/// Characters of one block's text.
const BLOCK: usize = 3_000;

struct Mrkdwn;

impl Markup for Mrkdwn {
    fn plain(&self, text: &str) -> String {
        // The three that Slack's document names; what only decorates has no escape, so it is
        // replaced.
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

pub(super) fn body(story: &Story) -> Value {
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
