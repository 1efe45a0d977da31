//! Channels that fail, and a mail server that goes away.

use std::collections::HashSet;
use std::time::Duration;

use idem_ops::Secret;
use idem_ops::alert::{Retry, Webhook};
use idem_ops::monitor::{AlertState, Monitor, Policy};
use idem_runtime::testing::ManualClock;
use mail_parser::MessageParser;

use crate::common::http::{Answer, HttpServer};
use crate::common::smtp::{Mode, SmtpServer, Through};
use crate::common::{until, within};
use crate::{die, idem, pager};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_notice_that_fails_is_kept_and_tried_again_and_delays_no_other_channel() {
    let clock = ManualClock::default();
    let (idem, (broken, mut tried), (fine, mut told)) =
        (idem(&clock), pager("broken"), pager("fine"));
    let trouble = broken.trouble.clone();
    let troubles = [
        (Retry::Later, MINUTE),
        (Retry::Never, MINUTE * 15),
        (Retry::After(MINUTE), MINUTE),
    ];
    for (first, (retry, longest)) in (0..).step_by(10).zip(troubles) {
        *trouble.lock() = Some(retry);
        let policy = Policy::default().digest_every(MINUTE);
        let watch = Monitor::new(&idem, "orders")
            .policy(policy)
            .channel(broken.clone())
            .channel(fine.clone())
            .start()
            .unwrap();
        die(&idem, first..first + 1, &format!("kind {retry:?}")).await;
        let notice = within(told.recv()).await.unwrap().unwrap();
        assert_eq!(within(tried.recv()).await.unwrap().unwrap_err(), notice);
        // A new monitor, as after a restart, goes on with what waits.
        watch.stop().await;
        let state = AlertState::of(&idem).await.unwrap();
        let of = |name: &str| {
            state
                .channels
                .iter()
                .find(|channel| channel.name == name)
                .unwrap()
        };
        assert_eq!((of("broken").waiting, of("fine").waiting), (1, 0));
        assert!(
            of("broken")
                .last_error
                .as_deref()
                .unwrap()
                .contains("it is broken; mend it")
        );
        assert!(of("broken").failing_since.is_some() && of("fine").last_sent.is_some());
        *trouble.lock() = None;
        let watch = Monitor::new(&idem, "orders")
            .channel(broken.clone())
            .channel(fine.clone())
            .start()
            .unwrap();
        clock.asleep(4).await;
        clock.advance(longest);
        assert_eq!(within(tried.recv()).await.unwrap().unwrap(), notice);
        watch.stop().await;
        assert_eq!(
            AlertState::of(&idem).await.unwrap().channels[0].failing_since,
            None
        );
        clock.advance(MINUTE * 60);
    }
    assert!(told.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_answers_500_and_then_never_has_the_notice_in_the_end() {
    let clock = ManualClock::default();
    let (idem, mut server) = (idem(&clock), HttpServer::start(Answer::status(500)).await);
    let webhook = Webhook::json(server.url("/hooks")).secret(Secret::new("correct horse"));
    let webhook = webhook.timeout(Duration::from_millis(200)).build().unwrap();
    let watch = Monitor::new(&idem, "orders")
        .channel(webhook)
        .start()
        .unwrap();
    die(&idem, 0..1, "no stock").await;
    let mut ids = HashSet::new();
    for (says, answers_next) in [
        ("answered 500", Answer::Never),
        ("no answer within 0.2 s", Answer::ok("thanks")),
    ] {
        ids.insert(server.request().await.header("webhook-id").to_owned());
        let fails = |state: &AlertState| {
            let error = state
                .channels
                .first()
                .and_then(|channel| channel.last_error.as_deref());
            error.is_some_and(|error| error.contains(says))
        };
        let state = until(async || AlertState::of(&idem).await.unwrap(), fails).await;
        assert_eq!((state.untold, state.channels[0].waiting), (0, 1));
        server.answer(answers_next);
        clock.asleep(3).await;
        clock.advance(MINUTE);
    }
    ids.insert(server.request().await.header("webhook-id").to_owned());
    let sent = |state: &AlertState| {
        state.channels[0].waiting == 0 && state.channels[0].failing_since.is_none()
    };
    until(async || AlertState::of(&idem).await.unwrap(), sent).await;
    watch.stop().await;
    assert_eq!(
        (ids.len(), server.rest().len()),
        (1, 0),
        "each try is the same notice, and the last one was the last"
    );
}

/// Ten thousand letters in a minute, and for half of it the mail server is down.
#[tokio::test(flavor = "multi_thread")]
async fn every_letter_is_in_some_mail_though_the_server_was_down() {
    let clock = ManualClock::default();
    let (idem, mut server) = (idem(&clock), SmtpServer::start(Mode::StartTls).await);
    let policy = Policy::default().digest_every(MINUTE / 4);
    let monitor = Monitor::new(&idem, "orders")
        .policy(policy)
        .channel(server.email().to("oncall@example.com").build().unwrap());
    let watch = monitor.start().unwrap();
    for second in 0..60 {
        match second {
            15 => server.stop().await,
            45 => server.come_back().await,
            _ => {}
        }
        let first = second * 10_000 / 60;
        die(
            &idem,
            first..(second + 1) * 10_000 / 60,
            &format!("kind {}", second % 3),
        )
        .await;
        clock.advance(MINUTE / 60);
    }
    let (mut told, mut mails) = (0, 0);
    while told < 10_000 {
        // Pauses between tries pass, and periods.
        clock.advance(MINUTE / 4);
        let mail = match tokio::time::timeout(Duration::from_millis(50), server.mail()).await {
            Ok(mail) => mail,
            Err(_) => continue,
        };
        mails += 1;
        let parsed = MessageParser::default().parse(&mail.data).unwrap();
        let subject = parsed.subject().unwrap();
        let count: u32 = subject
            .split(' ')
            .find_map(|word| word.parse().ok())
            .unwrap();
        told += count;
    }
    assert_eq!(told, 10_000, "a letter was told of twice");
    // What the policy allows: one at once for each of three kinds of error, a digest for each
    // quarter of the minute that ends in it, and one for the letters after the last.
    assert!(mails <= 3 + 4 + 1, "{mails} mails");
    watch.stop().await;
    let state = AlertState::of(&idem).await.unwrap();
    assert_eq!((state.untold, state.channels[0].waiting), (0, 0));
}
