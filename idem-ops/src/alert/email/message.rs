//! One notice as one mail: headers, plain text and HTML.

use std::time::SystemTime;

use askama::Template;
use lettre::Message;
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use sha2::{Digest, Sha256};

use crate::alert::PausedHandler;
use crate::alert::notice::{Group, Notice, NoticeKind};
use crate::alert::text::{self, GroupStory, Story};

/// Where ids are when the sender's address has no plain domain.
const NO_DOMAIN: &str = "idem.invalid";

#[derive(Template)]
#[template(path = "mail.html")]
struct Html<'a> {
    subject: &'a str,
    intro: &'a str,
    groups: &'a [GroupStory],
    more: Option<&'a str>,
    open: &'a str,
    link: Option<&'a url::Url>,
    id: &'a str,
}

/// The mail of a notice. The same notice makes the same mail, so a second copy is known by its
/// Message-ID.
pub(super) fn compose(notice: &Notice, from: &Mailbox, to: &[Mailbox]) -> Result<Message, String> {
    let story = Story::of(notice);
    let html = Html {
        subject: &story.subject,
        intro: &story.intro,
        groups: &story.groups,
        more: story.more.as_deref(),
        open: &story.open,
        link: story.link.as_ref(),
        id: &story.id,
    };
    let html = html.render().map_err(|error| error.to_string())?;
    let domain = domain(from);
    let mut mail = Message::builder()
        .from(from.clone())
        .date(SystemTime::from(notice.at))
        .message_id(Some(format!("<{}@{domain}>", notice.id)))
        .subject(story.subject.clone())
        .header(AutoSubmitted)
        .header(Kind(notice.kind));
    for address in to {
        mail = mail.to(address.clone());
    }
    if let Some(thread) = thread(notice, domain) {
        // The first mail of a thread answers one that was never sent: mail programs put all its
        // answers together.
        mail = mail.in_reply_to(thread.clone()).references(thread);
    }
    mail.multipart(MultiPart::alternative_plain_html(text::body(&story), html))
        .map_err(|error| error.to_string())
}

/// The id that all mails of one group answer to; mails about several groups have one for the
/// service.
fn thread(notice: &Notice, domain: &str) -> Option<String> {
    let parts: &[&str] = match (notice.groups.as_slice(), notice.paused.as_slice()) {
        ([], []) => return None,
        ([Group { handler, error, .. }], []) => &[&notice.service, handler, error],
        // The end of a pause answers its beginning.
        ([], [PausedHandler { handler, .. }]) => &[&notice.service, handler],
        _ => &[&notice.service],
    };
    let mut hash = Sha256::new();
    for part in parts {
        // With their lengths, no two lists of parts are the same bytes.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let name: String = hash
        .finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Some(format!("<thread-{name}@{domain}>"))
}

fn domain(from: &Mailbox) -> &str {
    let domain = from.email.domain();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    if !domain.is_empty() && domain.bytes().all(plain) {
        domain
    } else {
        NO_DOMAIN
    }
}

/// Holiday notes and other programs do not answer it ([RFC
/// 3834](https://www.rfc-editor.org/rfc/rfc3834#section-5)).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// Why people are told, for filters: `X-Idem-Notice: escalation`.
#[derive(Clone)]
struct Kind(NoticeKind);

impl Header for Kind {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("X-Idem-Notice")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(NoticeKind::NewGroup))
    }

    fn display(&self) -> HeaderValue {
        let kind = match self.0 {
            NoticeKind::NewGroup => "new_group",
            NoticeKind::Digest => "digest",
            NoticeKind::Escalation => "escalation",
            NoticeKind::Paused => "paused",
            NoticeKind::StillPaused => "still_paused",
            NoticeKind::Resumed => "resumed",
            NoticeKind::Test => "test",
        };
        HeaderValue::new(Self::name(), kind.to_owned())
    }
}
