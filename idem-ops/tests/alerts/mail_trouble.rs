//! Mail servers that refuse, hang, break off, talk nonsense, and come back.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use idem_ops::Secret;
use idem_ops::alert::{Alert, AlertError, Email, Retry};

use crate::common::notices::{card_declined, with};
use crate::common::smtp::{Mode, Mood, PASSWORD, SmtpServer, Through, USER};
use crate::common::within;

fn says(error: &AlertError, parts: &[&str]) {
    let text = format!("{error} {error:?}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert_eq!(error.channel, "email");
    let wire =
        [format!("\0{USER}\0{PASSWORD}"), PASSWORD.to_owned()].map(|text| STANDARD.encode(text));
    assert!(
        [PASSWORD, &wire[0], &wire[1]]
            .iter()
            .all(|secret| !text.contains(secret)),
        "{text}"
    );
}

async fn in_mood(mode: Mode, mood: Mood) -> AlertError {
    let mut server = SmtpServer::start(mode).await;
    server.mood(mood);
    let email = server.email().to("on-call@example.com").build().unwrap();
    let error = within(email.send(&card_declined())).await.unwrap_err();
    assert_eq!(server.rest().len(), 0);
    error
}

#[tokio::test]
async fn a_refusal_is_for_good_or_for_now() {
    let error = in_mood(Mode::StartTls, Mood::Refuse(String::new(), 550)).await;
    assert_eq!(error.retry, Retry::Never);
    says(
        &error,
        &[
            "refused the mail: 550 no <on-call@example.com> here",
            "check the sender and the address",
        ],
    );

    let error = in_mood(Mode::StartTls, Mood::Refuse(String::new(), 451)).await;
    assert_eq!(error.retry, Retry::Later);
    says(&error, &["451", "come back later"]);

    let error = in_mood(Mode::Implicit, Mood::RefuseMail(554)).await;
    assert_eq!(error.retry, Retry::Never);
    says(&error, &["refused the mail: 554 not this one"]);

    let error = in_mood(Mode::Plain, Mood::RefuseMail(451)).await;
    assert_eq!(error.retry, Retry::Later);
    says(&error, &["451 not this one"]);
}

#[tokio::test]
async fn one_bad_address_does_not_silence_the_others() {
    let mut server = SmtpServer::start(Mode::StartTls).await;
    let email = server
        .email()
        .to("gone@example.com")
        .to("on-call@example.com")
        .build()
        .unwrap();
    server.mood(Mood::Refuse("gone".to_owned(), 550));
    email.send(&card_declined()).await.unwrap();
    assert_eq!(server.mail().await.to, ["on-call@example.com"]);
}

#[tokio::test]
async fn an_address_that_took_the_mail_gets_no_second_copy() {
    let mut server = SmtpServer::start(Mode::StartTls).await;
    let email = server
        .email()
        .to("grey@example.com")
        .to("on-call@example.com")
        .build()
        .unwrap();
    server.mood(Mood::Refuse("grey".to_owned(), 451));
    let notice = card_declined();
    for _ in 0..2 {
        let error = email.send(&notice).await.unwrap_err();
        assert_eq!(error.retry, Retry::Later);
    }
    server.mood(Mood::Well);
    email.send(&notice).await.unwrap();
    assert_eq!(server.mail().await.to, ["on-call@example.com"]);
    assert_eq!(server.mail().await.to, ["grey@example.com"]);
    assert_eq!(server.rest().len(), 0);

    email.send(&card_declined()).await.unwrap();
    assert_eq!(server.mail().await.to, ["grey@example.com"]);
    assert_eq!(server.mail().await.to, ["on-call@example.com"]);
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_not_shown() {
    let mut server = SmtpServer::start(Mode::StartTls).await;
    let email = server
        .email()
        .to("a@example.com")
        .password(Secret::new("wrong-password-1"))
        .build()
        .unwrap();
    let error = email.send(&card_declined()).await.unwrap_err();
    assert_eq!(error.retry, Retry::Never);
    says(
        &error,
        &["refused the login: 535", "check the user and the password"],
    );
    assert!(!format!("{error:?} {email:?}").contains("wrong-password-1"));
    assert_eq!(server.rest().len(), 0);
}

#[tokio::test]
async fn a_server_that_repeats_the_password_is_not_quoted() {
    let error = in_mood(Mode::StartTls, Mood::Echo).await;
    says(&error, &["refused the login: 535 no …"]);
}

#[tokio::test]
async fn silence_ends() {
    for mood in [Mood::Silent, Mood::HangAfterMail] {
        let mut server = SmtpServer::start(Mode::Plain).await;
        server.mood(mood);
        let email = server
            .email()
            .to("a@example.com")
            .timeout(Duration::from_millis(300))
            .build()
            .unwrap();
        let error = within(email.send(&card_declined())).await.unwrap_err();
        assert_eq!(error.retry, Retry::Later);
        says(&error, &["did not finish within 0.3 s", "allow more time"]);
        assert_eq!(server.rest().len(), 0);
    }
}

/// The answer to a mail whose send was dropped must never be read as an answer to the next one.
#[tokio::test]
async fn a_dropped_send_drops_its_connection() {
    let mut server = SmtpServer::start(Mode::Plain).await;
    let email = server.email().to("a@example.com").build().unwrap();
    server.mood(Mood::HangAfterMail);
    let given_up = card_declined();
    tokio::select! {
        sent = email.send(&given_up) => panic!("{sent:?} without an answer"),
        () = server.hung() => {}
    }
    server.mood(Mood::Well);
    email
        .send(&with("orders", "orders.place", "A-2002", "no stock"))
        .await
        .unwrap();
    let mail = server.mail().await;
    assert!(String::from_utf8_lossy(&mail.data).contains("A-2002"));
    assert_eq!((server.rest().len(), server.connections()), (0, 2));
}

#[tokio::test]
async fn a_broken_conversation_is_tried_again() {
    for mode in [Mode::Plain, Mode::StartTls] {
        for mood in [Mood::DropInMail, Mood::DropAfterMail] {
            let error = in_mood(mode, mood).await;
            assert_eq!(error.retry, Retry::Later);
            says(&error, &["at the mail", "again"]);
        }
    }
}

#[tokio::test]
async fn nonsense_is_an_error() {
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"\xff\xfe\0\0",
        b"",
        b"\r\n\r\n",
        b"220",
        &[b'2'; 100_000],
    ] {
        let error = in_mood(Mode::Plain, Mood::Nonsense(Vec::leak(bytes.to_vec()))).await;
        assert_eq!(error.retry, Retry::Later);
        assert!(error.to_string().len() < 900, "{error}");
    }
    // Plain text where TLS was expected.
    let plain = SmtpServer::start(Mode::Plain).await;
    let url = format!("smtps://127.0.0.1:{}", plain.port());
    let email = Email::smtp(url).from("a@example.com").to("b@example.com");
    let email = email.root_certificate(plain.root()).build().unwrap();
    let error = within(email.send(&card_declined())).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test]
async fn nothing_goes_out_unprotected() {
    let mut server = SmtpServer::start(Mode::Plain).await;
    let url = format!("smtp://127.0.0.1:{}", server.port());
    let email = Email::smtp(url)
        .from("a@example.com")
        .to("b@example.com")
        .root_certificate(server.root());
    let error = email
        .build()
        .unwrap()
        .send(&card_declined())
        .await
        .unwrap_err();
    says(&error, &["offers no STARTTLS", "tls=none"]);
    assert_eq!(server.rest().len(), 0);
}

#[tokio::test]
async fn a_certificate_has_to_fit() {
    // Of an authority that is not trusted.
    let server = SmtpServer::start(Mode::StartTls).await;
    let other = SmtpServer::start(Mode::StartTls).await;
    let email = Email::smtp(server.url())
        .from("a@example.com")
        .to("b@example.com");
    let email = email.root_certificate(other.root()).build().unwrap();
    says(
        &email.send(&card_declined()).await.unwrap_err(),
        &["is not trusted", "certificate authority"],
    );
    // For another name.
    for mode in [Mode::StartTls, Mode::Implicit] {
        let mut server = SmtpServer::start_as(mode, &["mail.example.com"]).await;
        let email = server.email().to("b@example.com").build().unwrap();
        let error = email.send(&card_declined()).await.unwrap_err();
        assert!(error.is_retryable());
        says(&error, &["is not trusted"]);
        assert_eq!(server.rest().len(), 0);
    }
}

/// Bytes that arrive before TLS begins are not authenticated: an answer among them must not count.
#[tokio::test]
async fn an_answer_injected_before_tls_does_not_count() {
    let error = in_mood(Mode::StartTls, Mood::Injected).await;
    assert_eq!(error.retry, Retry::Later);
}

#[tokio::test]
async fn the_server_comes_back() {
    let mut server = SmtpServer::start(Mode::StartTls).await;
    let email = server.email().to("a@example.com").build().unwrap();
    email.send(&card_declined()).await.unwrap();
    server.mail().await;
    server.stop().await;
    let error = email.send(&card_declined()).await.unwrap_err();
    assert_eq!(error.retry, Retry::Later);
    says(
        &error,
        &["cannot be reached", "check host, port and network"],
    );
    server.come_back().await;
    email.send(&card_declined()).await.unwrap();
    server.mail().await;
}

/// A channel may live longer than its runtime.
#[test]
fn it_may_be_dropped_anywhere() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut server, email) = runtime.block_on(async {
        let server = SmtpServer::start(Mode::StartTls).await;
        let email = server.email().to("a@example.com").build().unwrap();
        email.send(&card_declined()).await.unwrap();
        (server, email)
    });
    assert_eq!(server.rest().len(), 1);
    drop(runtime);
    drop(email);
}
