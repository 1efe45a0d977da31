//! A story as lines of some markup, within some limit.

use crate::alert::text::{GroupStory, Story};

/// What marks a text that was cut.
pub(super) const CUT: &str = "… cut: the rest is in the dashboard";

/// How a service writes what it can write.
pub(super) trait Markup {
    /// Text in which nothing has a meaning any more.
    fn plain(&self, text: &str) -> String;
    /// Such a text in bold.
    fn bold(&self, text: &str) -> String;
    /// Such a text as a link. `url` is one that `Url` has encoded.
    fn link(&self, text: &str, url: &str) -> String;
}

/// The lines of one group.
pub(super) fn group(markup: &impl Markup, group: &GroupStory) -> Vec<String> {
    let mut lines = vec![format!(
        "{} ({})",
        markup.bold(&group.head),
        markup.plain(&group.since)
    )];
    for letter in &group.letters {
        let key = match &letter.link {
            Some(url) => markup.link(&letter.key, url.as_str()),
            None => markup.plain(&letter.key),
        };
        let error = letter
            .error
            .iter()
            .map(|error| format!(" — {}", markup.plain(error)));
        lines.push(format!(
            "• {key}: {}{}",
            markup.plain(&letter.fate),
            error.collect::<String>()
        ));
    }
    lines.extend(group.more.iter().map(|more| markup.plain(more)));
    lines
}

/// All lines of a story, with the subject first.
pub(super) fn story(markup: &impl Markup, story: &Story) -> Vec<String> {
    let mut lines = vec![markup.bold(&story.subject), markup.plain(&story.intro)];
    lines.extend(story.groups.iter().flat_map(|one| group(markup, one)));
    lines.extend(last(markup, story));
    lines
}

/// What comes after the groups.
pub(super) fn last(markup: &impl Markup, story: &Story) -> Vec<String> {
    let more = story.more.iter().map(|more| markup.plain(more));
    let open = match &story.link {
        Some(url) => markup.link(&story.open, url.as_str()),
        None => markup.plain(&story.open),
    };
    more.chain([open]).collect()
}

/// As many whole lines as fit into `limit`, counted by `size`, and a word where some do not.
///
/// Whole lines, so that no markup is cut in half and no escape either.
pub(super) fn fit(
    lines: &[String],
    joint: &str,
    limit: usize,
    size: impl Fn(&str) -> usize,
) -> String {
    let whole = lines.join(joint);
    if size(&whole) <= limit {
        return whole;
    }
    let reserve = size(joint) + size(CUT);
    let mut text = String::new();
    for line in lines {
        let joined = if text.is_empty() {
            line.clone()
        } else {
            format!("{text}{joint}{line}")
        };
        if size(&joined) + reserve > limit {
            break;
        }
        text = joined;
    }
    if !text.is_empty() {
        text.push_str(joint);
    }
    text + CUT
}

/// For the two whose Markdown has no way to escape: what means something becomes its wide twin.
pub(super) fn wide(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '<' => '＜',
            '>' => '＞',
            '@' => '＠',
            '&' => '＆',
            '[' => '［',
            ']' => '］',
            '*' => '＊',
            '`' => 'ˋ',
            '\\' => '＼',
            '~' => '～',
            '|' => '｜',
            other => other,
        })
        .collect()
}

/// `)` would end a Markdown link early.
pub(super) fn link_target(url: &str) -> String {
    url.replace('(', "%28").replace(')', "%29")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_are_kept() {
        let lines: Vec<String> = (0..9).map(|number| format!("&lt;卡{number}")).collect();
        let text = fit(&lines, "\n", 70, str::len);
        assert!(text.len() <= 70, "{text}");
        assert_eq!(text, format!("&lt;卡0\n&lt;卡1\n&lt;卡2\n{CUT}"));
        assert_eq!(fit(&lines[..2], "\n", 70, str::len), "&lt;卡0\n&lt;卡1");
        assert_eq!(fit(&["x".repeat(99)], "\n", 70, str::len), CUT);
    }
}
