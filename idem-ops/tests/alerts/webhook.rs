//! Endpoints that take an alert, refuse it, hang, and talk nonsense.

use std::time::Duration;

use idem_ops::Secret;
use idem_ops::alert::webhook::verify;
use idem_ops::alert::{Alert, AlertError, Retry, Webhook, WebhookBuilder};
use idem_runtime::clock::Timestamp;

use crate::common::http::{Answer, HttpServer, nonsense};
use crate::common::notices::card_declined;
use crate::common::{tls, within};

/// Stands in every address here, as the tokens do that make an address a secret.
const TOKEN: &str = "XXtokenXX0123456789";
const SECRET: &str = "correct horse battery";

type Make = fn(String) -> WebhookBuilder;

fn json(url: String) -> WebhookBuilder {
    Webhook::json(url).secret(Secret::new(SECRET))
}

const ALL: [Make; 5] = [
    json,
    Webhook::slack,
    Webhook::feishu,
    Webhook::dingtalk,
    Webhook::wecom,
];

async fn answered(make: Make, answer: Answer) -> Result<(), AlertError> {
    let server = HttpServer::start(answer).await;
    let webhook = make(server.url(&format!("/{TOKEN}?access_token={TOKEN}")))
        .build()
        .unwrap();
    let sent = within(webhook.send(&card_declined())).await;
    if let Err(error) = &sent {
        let text = format!("{error} {error:?} {webhook:?}");
        assert!(!text.contains(TOKEN), "{text}");
        // The others know no secret, so they cannot keep one.
        assert!(
            error.channel != "webhook" || !text.contains(SECRET),
            "{text}"
        );
        assert_eq!(error.channel, webhook.name());
    }
    sent
}

fn says(error: &AlertError, retry: Retry, parts: &[&str]) {
    assert_eq!(error.retry, retry, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "no {part:?} in {error}");
    }
}

/// Proxies and frameworks echo an address in a spelling of their own.
#[tokio::test]
async fn an_address_that_is_echoed_in_another_spelling_is_not_shown() {
    let token = "q+/tok&en=0123456789";
    let encoded: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
    let html = "q&#43;&#x2F;tok&amp;en=0123456789";
    let json = "q\\u002b\\/tok\\u0026en=0123456789";
    let lower = encoded.to_lowercase();
    let twice: String = url::form_urlencoded::byte_serialize(encoded.as_bytes()).collect();
    for echoed in [token, &encoded, &lower, &twice, html, json] {
        for status in [404, 500] {
            let server = HttpServer::start(Answer::Status(
                status,
                None,
                format!("no hook at /{echoed}"),
            ))
            .await;
            for url in [
                server.url(&format!("/hook?access_token={encoded}")),
                server.url(&format!("/{encoded}")),
            ] {
                let error = json_hook(url).send(&card_declined()).await.unwrap_err();
                assert!(
                    !format!("{error} {error:?}").contains("0123456789"),
                    "{echoed}: {error}"
                );
            }
        }
    }
}

fn json_hook(url: String) -> Webhook {
    json(url).build().unwrap()
}

#[tokio::test]
async fn a_receiver_can_check_who_sent_it() {
    let mut server = HttpServer::start(Answer::Status(204, None, String::new())).await;
    let webhook = json(server.url("/hooks/idem?a=1")).build().unwrap();
    let notice = card_declined();
    webhook.send(&notice).await.unwrap();
    let request = server.request().await;
    assert_eq!(request.uri.to_string(), "/hooks/idem?a=1");
    assert_eq!(
        request.header("content-type"),
        "application/json; charset=utf-8"
    );
    assert_eq!(request.header("webhook-id"), notice.id.to_string());
    let [id, timestamp, signature] =
        ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| request.header(name));
    let look = |body: &[u8]| {
        verify(
            &Secret::new(SECRET),
            id,
            timestamp,
            signature,
            body,
            Timestamp::now(),
        )
    };
    look(&request.body).unwrap();
    look(b"{}").unwrap_err();

    let body = request.json();
    assert_eq!(body["version"], 1);
    assert_eq!(body["subject"], notice.subject());
    assert_eq!(body["text"], notice.text());
    assert_eq!(
        serde_json::from_value::<idem_ops::alert::Notice>(body["notice"].clone()).unwrap(),
        notice
    );
    assert_eq!(body["notice"]["kind"], "new_group");
    assert_eq!(
        body["notice"]["groups"][0]["newest"][0]["reason"],
        "budget_spent"
    );
}

#[tokio::test]
async fn each_service_has_its_own_yes() {
    answered(json, Answer::ok("anything")).await.unwrap();
    answered(Webhook::slack, Answer::ok("ok")).await.unwrap();
    let feishu = r#"{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}"#;
    answered(Webhook::feishu, Answer::ok(feishu)).await.unwrap();
    for robot in [Webhook::dingtalk as Make, Webhook::wecom] {
        answered(robot, Answer::ok(r#"{"errcode":0,"errmsg":"ok"}"#))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_200_may_be_a_no() {
    let no = async |make: Make, body: &str| answered(make, Answer::ok(body)).await.unwrap_err();
    let minute = Retry::After(Duration::from_secs(60));
    says(
        &no(Webhook::slack, "no_service").await,
        Retry::Later,
        &["no_service", "slack"],
    );
    let error = no(
        Webhook::feishu,
        r#"{"code":19021,"data":{},"msg":"sign match fail"}"#,
    )
    .await;
    says(
        &error,
        Retry::Never,
        &["code 19021: sign match fail", "clock"],
    );
    says(
        &no(
            Webhook::feishu,
            r#"{"code":11232,"msg":"frequency limited"}"#,
        )
        .await,
        minute,
        &["too many"],
    );
    says(
        &no(Webhook::feishu, r#"{"code":9499,"msg":"Bad Request"}"#).await,
        Retry::Never,
        &["9499"],
    );
    let error = no(
        Webhook::dingtalk,
        r#"{"errcode":310000,"errmsg":"keywords not in content"}"#,
    )
    .await;
    says(
        &error,
        Retry::Never,
        &["310000: keywords not in content", "keyword `idem`"],
    );
    let error = no(
        Webhook::dingtalk,
        r#"{"errcode":130101,"errmsg":"send too fast"}"#,
    )
    .await;
    says(
        &error,
        Retry::After(Duration::from_secs(600)),
        &["too many"],
    );
    says(
        &no(Webhook::dingtalk, r#"{"errcode":-1,"errmsg":"busy"}"#).await,
        Retry::Later,
        &["busy"],
    );
    says(
        &no(
            Webhook::wecom,
            r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#,
        )
        .await,
        minute,
        &["45009"],
    );
    says(
        &no(
            Webhook::wecom,
            r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#,
        )
        .await,
        Retry::Never,
        &["gone"],
    );
    for robot in [Webhook::feishu as Make, Webhook::dingtalk, Webhook::wecom] {
        for body in [
            "",
            "ok",
            "{}",
            "[]",
            "<html>",
            "{\"errcode\":\"0\"}",
            "{\"code\":null}",
        ] {
            says(&no(robot, body).await, Retry::Later, &["something else"]);
        }
    }
}

#[tokio::test]
async fn what_a_status_means() {
    for make in ALL {
        for status in [500, 502, 503, 429, 408] {
            let error = answered(make, Answer::status(status)).await.unwrap_err();
            says(
                &error,
                Retry::Later,
                &[&format!("answered {status}"), &format!("this is {status}")],
            );
        }
        for status in [400, 401, 403, 404, 410, 413, 300] {
            let error = answered(make, Answer::status(status)).await.unwrap_err();
            says(&error, Retry::Never, &[&format!("answered {status}")]);
        }
        let slow = Answer::Status(429, Some(("retry-after", "17")), String::new());
        let error = answered(make, slow).await.unwrap_err();
        says(&error, Retry::After(Duration::from_secs(17)), &["429"]);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut target = HttpServer::start(Answer::ok("ok")).await;
    for status in [301, 302, 307, 308] {
        let server = HttpServer::start(Answer::Status(status, None, String::new())).await;
        let location = target.url("/elsewhere").leak();
        server.answer(Answer::Status(
            status,
            Some(("location", location)),
            String::new(),
        ));
        let webhook = json(server.url("/")).build().unwrap();
        let error = webhook.send(&card_declined()).await.unwrap_err();
        says(&error, Retry::Never, &["redirects are not followed"]);
    }
    assert_eq!(target.rest().len(), 0);
}

#[tokio::test]
async fn an_echo_does_not_show_the_token() {
    for make in ALL {
        let echo = format!(
            "no route for /{TOKEN}?access_token={TOKEN}, secret {SECRET} {}",
            "x".repeat(1_000_000)
        );
        let error = answered(make, Answer::Status(400, None, echo))
            .await
            .unwrap_err();
        assert!(error.what.chars().count() <= 300, "{error}");
    }
}

#[tokio::test]
async fn silence_ends() {
    let server = HttpServer::start(Answer::Never).await;
    for make in ALL {
        let webhook = make(server.url("/"))
            .timeout(Duration::from_millis(200))
            .build()
            .unwrap();
        let error = within(webhook.send(&card_declined())).await.unwrap_err();
        says(
            &error,
            Retry::Later,
            &["no answer within 0.2 s", "may or may not"],
        );
    }
}

#[tokio::test]
async fn nonsense_is_an_error() {
    for bytes in [
        &b"220 mail.test ESMTP\r\n"[..],
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nok",
        b"\xff\xff",
    ] {
        let url = nonsense(bytes).await + TOKEN;
        let error = within(json(url).build().unwrap().send(&card_declined()))
            .await
            .unwrap_err();
        assert_eq!(error.retry, Retry::Later, "{error}");
        assert!(!format!("{error} {error:?}").contains(TOKEN), "{error:?}");
    }
}

#[tokio::test]
async fn nobody_there() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let webhook = json(format!("http://127.0.0.1:{port}/{TOKEN}"))
        .build()
        .unwrap();
    let error = within(webhook.send(&card_declined())).await.unwrap_err();
    assert_eq!(error.retry, Retry::Later);
    assert!(!format!("{error} {error:?}").contains(TOKEN), "{error:?}");
}

#[tokio::test]
async fn an_authority_of_one_s_own() {
    let identity = tls::identity(&["127.0.0.1"]);
    let mut server = HttpServer::start_tls(Answer::ok("ok"), identity.clone()).await;
    let trusting = Webhook::slack(server.url("/x"))
        .root_certificate(identity.root)
        .build()
        .unwrap();
    trusting.send(&card_declined()).await.unwrap();
    server.request().await;

    let other = tls::identity(&["127.0.0.1"]).root;
    let careful = Webhook::slack(server.url(&format!("/{TOKEN}")))
        .root_certificate(other)
        .build()
        .unwrap();
    let error = careful.send(&card_declined()).await.unwrap_err();
    says(&error, Retry::Later, &["certificate"]);
    assert!(!format!("{error} {error:?}").contains(TOKEN));
    assert_eq!(server.rest().len(), 0);
}

#[test]
fn a_letter_that_was_kept_in_order_says_that_others_passed_it() {
    let mut notice = card_declined();
    notice.groups[0].newest[0].ordering_key = Some("Ann".to_owned());
    let passed = "; later messages with ordering key Ann did not wait for it";
    assert!(notice.text().contains(passed), "{}", notice.text());
}
