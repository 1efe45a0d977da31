//! A notice in words, to which every channel adds its own markup.

use idem_runtime::clock::Timestamp;
use url::Url;

use super::notice::{Brief, Group, Notice, NoticeKind};
use super::paused;
use crate::shown::steers;

/// The most groups that are described one by one.
const GROUPS: usize = 20;
/// The most letters of a group that are shown.
const LETTERS: usize = 5;
/// The kind of error of letters without an error.
const NO_ERROR: &str = "no error text";

/// The notice's words, each a clean single line without any markup.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) subject: String,
    /// The situation, and what to do.
    pub(crate) intro: String,
    pub(crate) groups: Vec<GroupStory>,
    /// The groups that are not described one by one.
    pub(crate) more: Option<String>,
    /// The number of all open letters.
    pub(crate) open: String,
    /// The dashboard's overview, or the letter's page when there is one letter.
    pub(crate) link: Option<Url>,
    pub(crate) id: String,
}

#[derive(Debug)]
pub(crate) struct GroupStory {
    pub(crate) head: String,
    pub(crate) since: String,
    pub(crate) letters: Vec<LetterStory>,
    pub(crate) more: Option<String>,
}

#[derive(Debug)]
pub(crate) struct LetterStory {
    pub(crate) key: String,
    pub(crate) fate: String,
    pub(crate) error: Option<String>,
    pub(crate) link: Option<Url>,
}

impl Story {
    pub(crate) fn of(notice: &Notice) -> Self {
        let dashboard = notice
            .dashboard
            .as_ref()
            .filter(|url| matches!(url.scheme(), "http" | "https"));
        let told = notice.groups.iter().map(|group| group.count).sum::<u64>();
        let shown = notice.groups.iter().take(GROUPS);
        let groups = shown.map(|group| GroupStory::of(group, dashboard));
        let paused = notice.paused.iter().take(GROUPS).map(paused::story);
        let hidden: u64 = notice
            .groups
            .iter()
            .skip(GROUPS)
            .map(|group| group.count)
            .sum();
        let link = match notice.groups.as_slice() {
            [group] if told == 1 && group.newest.len() == 1 => {
                dashboard.map(|url| page(url, &group.newest[0]))
            }
            // A page below the root: a nested root has no slash at its end, and addresses often do.
            _ => dashboard.map(|url| below(url, &["overview"])),
        };
        Self {
            subject: subject(notice),
            intro: match notice.kind {
                NoticeKind::Test => "This is a test: alerts from this service arrive here.",
                NoticeKind::Escalation => "Nobody has acted yet. Nothing runs again by itself: redrive or discard.",
                NoticeKind::Paused | NoticeKind::StillPaused | NoticeKind::Resumed => paused::intro(notice),
                NoticeKind::NewGroup | NoticeKind::Digest => {
                    "Nothing of this runs again by itself: look at the cause, then redrive or discard."
                }
            }
            .to_owned(),
            groups: groups.chain(paused).collect(),
            more: (hidden > 0)
                .then(|| format!("and {} in {} more groups", letters(hidden), notice.groups.len() - GROUPS)),
            open: format!("{} open in all", letters(notice.open)),
            link,
            id: notice.id.to_string(),
        }
    }
}

impl Notice {
    /// Returns one line to filter by: `[idem] orders: 3 dead letters in orders.place — card declined`.
    ///
    /// It has no control characters and at most 240 characters, whatever keys and errors contain.
    pub fn subject(&self) -> String {
        subject(self)
    }

    /// Returns the whole notice as plain text.
    pub fn text(&self) -> String {
        body(&Story::of(self))
    }
}

impl GroupStory {
    fn of(group: &Group, dashboard: Option<&Url>) -> Self {
        let shown = group.newest.len().min(LETTERS);
        let left = group.count.saturating_sub(shown as u64);
        Self {
            head: format!(
                "{} — {}: {}",
                one_line(&group.handler, 100),
                kind(group, 120),
                letters(group.count)
            ),
            since: format!("since {}", seconds(group.since)),
            letters: group
                .newest
                .iter()
                .take(shown)
                .map(|brief| LetterStory::of(brief, dashboard))
                .collect(),
            more: (left > 0 && shown > 0).then(|| format!("and {left} more")),
        }
    }
}

impl LetterStory {
    fn of(brief: &Brief, dashboard: Option<&Url>) -> Self {
        let attempts = match brief.attempts {
            // The message was buried without an attempt.
            0 => String::new(),
            1 => " after 1 attempt".to_owned(),
            attempts => format!(" after {attempts} attempts"),
        };
        let passed = match &brief.ordering_key {
            Some(key) => format!(
                "; later messages with ordering key {} did not wait for it",
                one_line(key, 60)
            ),
            None => String::new(),
        };
        Self {
            key: one_line(&brief.key, 120),
            fate: format!(
                "{}{attempts}, died {}{passed}",
                brief.reason,
                seconds(brief.died_at)
            ),
            error: brief
                .error
                .as_deref()
                .map(|error| one_line(error, 300))
                .filter(|error| !error.is_empty()),
            link: dashboard.map(|url| page(url, brief)),
        }
    }
}

fn subject(notice: &Notice) -> String {
    let service = subject_part(&notice.service, 40);
    if let Some(what) = paused::subject(notice) {
        return format!("[idem] {service}: {what}");
    }
    let count = notice.groups.iter().map(|group| group.count).sum();
    let count = match notice.kind {
        NoticeKind::Digest => letters(count).replacen(' ', " more ", 1),
        _ => letters(count),
    };
    let what = match notice.groups.as_slice() {
        [group] => {
            let error = if group.error.trim().is_empty() {
                NO_ERROR
            } else {
                &group.error
            };
            format!(
                "{count} in {} — {}",
                subject_part(&group.handler, 60),
                subject_part(error, 70)
            )
        }
        groups => format!("{count} in {} groups", groups.len()),
    };
    match notice.kind {
        NoticeKind::Test => format!("[idem] {service}: a test alert"),
        NoticeKind::Escalation => format!("[idem] {service}: nobody acted on {what}"),
        _ => format!("[idem] {service}: {what}"),
    }
}

pub(crate) fn body(story: &Story) -> String {
    let mut lines = vec![story.subject.clone(), story.intro.clone()];
    for group in &story.groups {
        lines.extend([String::new(), format!("{} ({})", group.head, group.since)]);
        for letter in &group.letters {
            lines.push(format!("  {}: {}", letter.key, letter.fate));
            lines.extend(letter.error.iter().map(|error| format!("    {error}")));
            lines.extend(letter.link.iter().map(|link| format!("    {link}")));
        }
        lines.extend(group.more.iter().map(|more| format!("  {more}")));
    }
    lines.extend(story.more.iter().cloned());
    lines.push(String::new());
    lines.push(match &story.link {
        Some(link) => format!("{}: {link}", story.open),
        None => story.open.clone(),
    });
    lines.push(format!("Notice {}", story.id));
    lines.join("\n")
}

/// Returns the text as one line of at most `most` characters.
///
/// White space becomes one space. Characters that could break a line, start a header or change the
/// direction of the text become the replacement character.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let mut line = String::with_capacity(text.len().min(4 * most));
    let mut length = 0;
    let mut gap = false;
    for character in text.chars() {
        if character.is_whitespace() {
            gap = length > 0;
            continue;
        }
        let shown = if steers(character) {
            char::REPLACEMENT_CHARACTER
        } else {
            character
        };
        if length + usize::from(gap) + 1 > most {
            // Room for the ellipsis.
            while length >= most {
                line.pop();
                length -= 1;
            }
            line.push('…');
            return line;
        }
        if gap {
            line.push(' ');
            length += 1;
            gap = false;
        }
        line.push(shown);
        length += 1;
    }
    line
}

/// Returns the group's kind of error, or [`NO_ERROR`].
fn kind(group: &Group, most: usize) -> String {
    let kind = one_line(&group.error, most);
    if kind.is_empty() {
        NO_ERROR.to_owned()
    } else {
        kind
    }
}

/// Returns a part of the subject. Mail programs decode `=?…?=`, which could hide any text.
pub(super) fn subject_part(text: &str, most: usize) -> String {
    one_line(&text.replace("=?", "= ?"), most)
}

fn letters(count: u64) -> String {
    format!(
        "{count} dead {}",
        if count == 1 { "letter" } else { "letters" }
    )
}

pub(super) fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Returns the address of the letter's page.
fn page(dashboard: &Url, brief: &Brief) -> Url {
    below(dashboard, &["letters", &brief.id.to_string()])
}

fn below(dashboard: &Url, path: &[&str]) -> Url {
    let mut url = dashboard.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(
            one_line("a\r\nBcc: x@y\t z\u{2028}w ", 99),
            "a Bcc: x@y z w"
        );
        assert_eq!(one_line("a\0b\u{1b}[31m\u{202e}c", 99), "a�b�[31m�c");
        assert_eq!(one_line("می‌روم 👩‍💻", 99), "می‌روم 👩‍💻");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        assert_eq!(one_line("äöü", 3), "äöü");
        assert_eq!(one_line("äöüß", 3), "äö…");
        assert_eq!(one_line("ä ö ü ß", 4), "ä ö…");
        assert_eq!(one_line(&"卡".repeat(9_000), 70).chars().count(), 70);
    }
}
