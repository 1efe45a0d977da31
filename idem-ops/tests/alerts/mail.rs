//! What arrives, read by a mail library.

use idem_ops::alert::{Alert, Notice, NoticeKind};
use mail_parser::{Message, MessageParser, MimeHeaders};

use crate::common::notices::{card_declined, group, huge, time, with};
use crate::common::smtp::{Mode, SmtpServer, Through, USER};

/// Sends one notice and parses what came.
async fn arrived(notice: &Notice) -> Message<'static> {
    let mut server = SmtpServer::start(Mode::Plain).await;
    let email = server.email().to("on-call@example.com").build().unwrap();
    email.send(notice).await.unwrap();
    parsed(&server.mail().await.data)
}

fn parsed(data: &[u8]) -> Message<'static> {
    MessageParser::default().parse(data).unwrap().into_owned()
}

fn header<'a>(mail: &'a Message<'_>, name: &'static str) -> &'a str {
    mail.header(name)
        .and_then(|value| value.as_text())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_person_can_act_on_it() {
    let notice = card_declined();
    let mail = arrived(&notice).await;
    assert_eq!(
        mail.subject(),
        Some("[idem] orders: 1 dead letter in orders.place — card declined")
    );
    assert_eq!(
        mail.from().unwrap().first().unwrap().address(),
        Some("alerts@shop.example.com")
    );
    assert_eq!(
        mail.to().unwrap().first().unwrap().address(),
        Some("on-call@example.com")
    );
    assert_eq!(
        mail.message_id(),
        Some(format!("{}@shop.example.com", notice.id).as_str())
    );
    assert_eq!(header(&mail, "Auto-Submitted"), "auto-generated");
    assert_eq!(header(&mail, "X-Idem-Notice"), "new_group");
    assert_eq!(mail.date().unwrap().to_timestamp(), time().as_second());

    let content = mail.content_type().unwrap();
    assert_eq!(
        (content.ctype(), content.subtype()),
        ("multipart", Some("alternative"))
    );
    let link = format!(
        "https://ops.example.com/idem/letters/{}",
        notice.groups[0].newest[0].id
    );
    let text = mail.body_text(0).unwrap();
    for part in [
        "A-1001: no attempts left after 4 attempts, died 2026-03-04 05:06:07Z",
        "card declined",
        &link,
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let html = mail.body_html(0).unwrap();
    assert!(
        html.contains(&format!("<a href=\"{link}\"><code>A-1001</code></a>")),
        "{html}"
    );
}

#[tokio::test]
async fn the_end_of_a_pause_answers_its_beginning() {
    let mut threads = Vec::new();
    for (kind, name, subject) in [
        (
            NoticeKind::Paused,
            "paused",
            "[idem] orders: orders.pay is paused — the bank is away",
        ),
        (
            NoticeKind::Resumed,
            "resumed",
            "[idem] orders: orders.pay is no longer paused — 2 min 5 s",
        ),
    ] {
        let mut notice = Notice::new(kind, "orders", time());
        let paused = serde_json::json!({
            "handler": "orders.pay", "cause": "outages", "why": "the bank\r\nis away", "by": null,
            "since": time(), "seconds": 125, "turned_away": 12,
        });
        notice.paused = vec![serde_json::from_value(paused).unwrap()];
        let mail = arrived(&notice).await;
        assert_eq!(mail.subject(), Some(subject));
        assert_eq!(header(&mail, "X-Idem-Notice"), name);
        let text = mail.body_text(0).unwrap();
        assert!(
            text.contains("since 2026-03-04 05:06:07Z, for 2 min 5 s")
                && text.contains("12 calls were turned away"),
            "{text}"
        );
        threads.push(mail.in_reply_to().as_text().unwrap().to_owned());
    }
    assert_eq!(threads[0], threads[1]);
}

#[tokio::test]
async fn one_group_is_one_thread() {
    let thread = async |notice: &Notice| {
        let mail = arrived(notice).await;
        let references = mail.references().as_text().unwrap_or_default().to_owned();
        assert_eq!(mail.in_reply_to().as_text().unwrap_or_default(), references);
        references
    };
    let first = thread(&card_declined()).await;
    assert!(
        first.starts_with("thread-") && first.ends_with("@shop.example.com"),
        "{first}"
    );
    let mut again = with("orders", "orders.place", "A-2002", "card declined");
    again.kind = NoticeKind::Digest;
    assert_eq!(thread(&again).await, first);
    assert_ne!(
        thread(&with("orders", "orders.place", "A-1001", "no stock")).await,
        first
    );
    assert_ne!(
        thread(&with("orders", "orders.ship", "A-1001", "card declined")).await,
        first
    );
    assert_ne!(
        thread(&with("invoices", "orders.place", "A-1001", "card declined")).await,
        first
    );

    again.groups.push(group("orders.ship", "A-1", "no van"));
    let several = thread(&again).await;
    assert!(!several.is_empty() && several != first, "{several}");
    assert_eq!(
        thread(&Notice::new(NoticeKind::Test, "orders", time())).await,
        ""
    );
}

#[tokio::test]
async fn a_second_copy_is_the_same_mail() {
    let mut server = SmtpServer::start(Mode::Plain).await;
    let email = server.email().to("on-call@example.com").build().unwrap();
    let notice = card_declined();
    // As after a crash: the notice comes from where it was kept.
    let kept: Notice = serde_json::from_str(&serde_json::to_string(&notice).unwrap()).unwrap();
    assert_eq!(kept, notice);
    email.send(&notice).await.unwrap();
    email.send(&kept).await.unwrap();
    let mails = [server.mail().await, server.mail().await].map(|mail| parsed(&mail.data));
    assert_eq!(mails[0].message_id(), mails[1].message_id());
    assert_eq!(mails[0].body_text(0), mails[1].body_text(0));
}

#[tokio::test]
async fn no_text_becomes_a_header() {
    let attacks = [
        "x\r\nBcc: victim@example.com",
        "x\nBcc: victim@example.com\n\nbody",
        "x\r\n\r\n<h1>body</h1>",
        "x\u{85}Bcc: victim@example.com\u{2028}Bcc: victim@example.com\0\u{b}\u{c}Bcc: v@example.com",
        "=?utf-8?b?DQpCY2M6IHZpY3RpbUBleGFtcGxlLmNvbQ==?=",
        "=?utf-8?q?=0D=0ABcc:_victim@example.com?=",
        "\r\n.\r\nMAIL FROM:<x@example.com>\r\n",
        &"卡".repeat(5_000),
        &"A".repeat(5_000),
        &"\r\nBcc: victim@example.com".repeat(500),
    ];
    let usual: Vec<_> = arrived(&card_declined())
        .await
        .headers()
        .iter()
        .map(|one| one.name().to_owned())
        .collect();
    for attack in attacks {
        for notice in [
            with(attack, "orders.place", "A-1001", "card declined"),
            with("orders", attack, "A-1001", "card declined"),
            with("orders", "orders.place", attack, "card declined"),
            with("orders", "orders.place", "A-1001", attack),
        ] {
            let mail = arrived(&notice).await;
            let names: Vec<_> = mail
                .headers()
                .iter()
                .map(|one| one.name().to_owned())
                .collect();
            assert_eq!(names, usual, "{attack:?}");
            assert_eq!(mail.to().unwrap().iter().count(), 1, "{attack:?}");
            assert!(mail.bcc().is_none() && mail.cc().is_none(), "{attack:?}");
            assert_eq!(mail.parts.len(), 3, "{attack:?}");
            let subject = mail.subject().unwrap();
            assert_eq!(subject, notice.subject(), "{attack:?}");
            assert!(
                subject.chars().count() <= 240 && !subject.contains(char::is_control),
                "{subject:?}"
            );
            assert!(
                mail.raw_message()
                    .split(|byte| *byte == b'\n')
                    .all(|line| line.len() <= 999),
                "{attack:?}"
            );
        }
    }
}

#[tokio::test]
async fn html_shows_what_was_written() {
    let evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;";
    let mut notice = with(evil, evil, evil, evil);
    notice.dashboard = Some("https://ops.example.com/\"><script>?q=<b>".parse().unwrap());
    let mail = arrived(&notice).await;
    let html = mail.body_html(0).unwrap();
    assert!(
        !html.contains("<script") && !html.contains("<img") && !html.contains("<b>"),
        "{html}"
    );
    assert!(html.contains("&#60;script&#62;alert(1)"), "{html}");
    assert!(mail.body_text(0).unwrap().contains(evil));

    notice.dashboard = Some("javascript:alert(1)".parse().unwrap());
    let mail = arrived(&notice).await;
    assert!(
        !mail.body_html(0).unwrap().contains("href"),
        "only http and https are linked"
    );
}

#[tokio::test]
async fn a_flood_is_a_mail_of_sensible_size() {
    let mail = arrived(&huge("ключ-<>&", "карта <отклонена>")).await;
    assert_eq!(
        mail.subject(),
        Some("[idem] orders: 600000 more dead letters in 60 groups")
    );
    assert!(
        mail.body_text(0)
            .unwrap()
            .contains("and 400000 dead letters in 40 more groups")
    );
    assert!(
        mail.raw_message().len() < 500_000,
        "{}",
        mail.raw_message().len()
    );
}

#[tokio::test]
async fn the_login_is_sent_over_tls_only() {
    for mode in [Mode::StartTls, Mode::Implicit] {
        let mut server = SmtpServer::start(mode).await;
        let email = server
            .email()
            .to("on-call@example.com")
            .to("Jürgen <shop@example.com>")
            .build()
            .unwrap();
        email.send(&card_declined()).await.unwrap();
        for address in ["on-call@example.com", "shop@example.com"] {
            let mail = server.mail().await;
            assert_eq!((mail.tls, mail.user.as_deref()), (true, Some(USER)));
            assert_eq!(mail.from, "alerts@shop.example.com");
            assert_eq!(mail.to, [address]);
        }
    }
}
