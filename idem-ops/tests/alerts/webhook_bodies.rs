//! What each service gets: shape, escapes, limits.

use idem_ops::Secret;
use idem_ops::alert::{Alert, Notice, Webhook, WebhookBuilder};
use serde_json::Value;

use crate::common::http::{Answer, HttpServer, Request};
use crate::common::notices::{card_declined, huge, with};

const YES: &str = r#"{"code":0,"errcode":0}"#;

async fn request(
    make: impl Fn(String) -> WebhookBuilder,
    path: &str,
    answer: &str,
    notice: &Notice,
) -> Request {
    let mut server = HttpServer::start(Answer::ok(answer)).await;
    make(server.url(path))
        .build()
        .unwrap()
        .send(notice)
        .await
        .unwrap();
    server.request().await
}

async fn slack(notice: &Notice) -> Value {
    request(Webhook::slack, "/services/T/B/x", "ok", notice)
        .await
        .json()
}

async fn wecom(notice: &Notice) -> String {
    let body = request(Webhook::wecom, "/cgi-bin/webhook/send?key=k", YES, notice)
        .await
        .json();
    assert_eq!(body["msgtype"], "markdown");
    body["markdown"]["content"].as_str().unwrap().to_owned()
}

/// Each would ping somebody, or break out of where it stands.
const PINGS: &str = "<!channel> <!here> <@U123> <@all> @all @everyone <at id=all></at> <at user_id=\"all\">x</at> [x](http://evil) `*";

fn pings() -> Notice {
    with("orders", PINGS, PINGS, PINGS)
}

#[tokio::test]
async fn slack_shows_and_pings_nobody() {
    let notice = card_declined();
    let body = slack(&notice).await;
    assert_eq!(body["text"], notice.subject());
    let blocks = body["blocks"].as_array().unwrap();
    for block in blocks {
        assert_eq!(
            (&block["type"], &block["text"]["type"]),
            (&"section".into(), &"mrkdwn".into())
        );
        assert_eq!(block["text"]["verbatim"], true);
    }
    let letter = notice.groups[0].newest[0].id;
    let link = format!(
        "• <https://ops.example.com/idem/letters/{letter}|A-1001>: no attempts left after 4 attempts"
    );
    assert!(
        blocks[1]["text"]["text"].as_str().unwrap().contains(&link),
        "{body}"
    );

    let body = slack(&pings()).await;
    let texts = body["blocks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| &block["text"]["text"])
        .chain([&body["text"]]);
    for text in texts {
        let text = text.as_str().unwrap();
        let opened = text.matches('<').count();
        assert_eq!(
            opened,
            text.matches("<https://ops.example.com/").count(),
            "{text}"
        );
        assert_eq!(opened, text.matches('>').count(), "{text}");
    }
    assert!(
        body["text"].as_str().unwrap().contains("&lt;!channel&gt;"),
        "{body}"
    );
}

#[tokio::test]
async fn slack_s_limits() {
    let body = slack(&huge("<&>卡*", "<&>卡*")).await;
    let blocks = body["blocks"].as_array().unwrap();
    assert!(blocks.len() <= 50, "{}", blocks.len());
    for block in blocks {
        let text = block["text"]["text"].as_str().unwrap();
        assert!((1..=3000).contains(&text.chars().count()), "{}", text.len());
        let entities = ["&amp;", "&lt;", "&gt;"]
            .iter()
            .map(|entity| text.matches(entity).count())
            .sum::<usize>();
        assert_eq!(
            text.matches('&').count(),
            entities,
            "an escape is cut: {text}"
        );
    }
}

#[tokio::test]
async fn feishu_is_a_card_of_plain_text() {
    let secret = |url| Webhook::feishu(url).secret(Secret::new("SECdemo"));
    let notice = pings();
    let body = request(secret, "/open-apis/bot/v2/hook/x", YES, &notice)
        .await
        .json();
    assert_eq!(body["msg_type"], "interactive");
    let card = &body["card"];
    assert_eq!(card["header"]["title"]["tag"], "plain_text");
    assert_eq!(card["header"]["title"]["content"], notice.subject());
    assert_eq!(card["elements"][0]["text"]["tag"], "plain_text");
    assert!(
        card["elements"][0]["text"]["content"]
            .as_str()
            .unwrap()
            .contains("<at id=all></at>")
    );
    let letter = notice.groups[0].newest[0].id.to_string();
    assert!(
        card["elements"][1]["actions"][0]["url"]
            .as_str()
            .unwrap()
            .ends_with(&letter)
    );
    let timestamp: i64 = body["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(timestamp > 1_700_000_000, "seconds");
    assert_eq!(body["sign"].as_str().unwrap().len(), 44);

    let unsigned = request(Webhook::feishu, "/x", YES, &notice).await.json();
    assert!(unsigned.get("sign").is_none() && unsigned.get("timestamp").is_none());

    for text in ["卡", "\"\\", "\u{1}<", "👩‍💻"] {
        let request = request(secret, "/x", YES, &huge(text, text)).await;
        assert!(
            request.body.len() <= 20_000,
            "{} bytes of {text:?}",
            request.body.len()
        );
    }
}

#[tokio::test]
async fn dingtalk_is_signed_in_its_address() {
    let secret = |url| Webhook::dingtalk(url).secret(Secret::new("SECdemo"));
    let request = request(secret, "/robot/send?access_token=t%2Bt", YES, &pings()).await;
    let url: url::Url = format!("http://localhost{}", request.uri).parse().unwrap();
    let pairs: Vec<_> = url.query_pairs().collect();
    let names: Vec<_> = pairs.iter().map(|(name, _)| name.as_ref()).collect();
    assert_eq!(names, ["access_token", "timestamp", "sign"]);
    assert_eq!(pairs[0].1, "t+t");
    assert!(
        pairs[1].1.parse::<i64>().unwrap() > 1_700_000_000_000,
        "milliseconds"
    );
    assert_eq!(pairs[2].1.len(), 44);

    let body = request.json();
    assert_eq!(body["msgtype"], "markdown");
    assert_eq!(body["at"]["isAtAll"], false);
    let text = body["markdown"]["text"].as_str().unwrap();
    assert!(
        !text.contains(['<', '@', '`']) && text.contains("＜!channel＞"),
        "{text}"
    );
    assert!(!text.contains("](http://evil)"), "{text}");
    assert!(
        !body["markdown"]["title"]
            .as_str()
            .unwrap()
            .contains(['<', '@']),
        "{body}"
    );
}

#[tokio::test]
async fn dingtalk_s_limit() {
    for text in ["卡", "\"\\", "<@all>"] {
        let request = request(Webhook::dingtalk, "/", YES, &huge(text, text)).await;
        assert!(
            request.body.len() <= 20_000,
            "{} bytes of {text:?}",
            request.body.len()
        );
        assert!(
            request.json()["markdown"]["text"]
                .as_str()
                .unwrap()
                .ends_with("in the dashboard")
        );
    }
}

#[tokio::test]
async fn wecom_shows_and_pings_nobody() {
    let notice = card_declined();
    let text = wecom(&notice).await;
    assert!(
        text.starts_with(&format!(
            "**{}**\n",
            notice.subject().replace('[', "［").replace(']', "］")
        )),
        "{text}"
    );
    let link = format!(
        "[A-1001](https://ops.example.com/idem/letters/{})",
        notice.groups[0].newest[0].id
    );
    assert!(text.contains(&link), "{text}");
    let text = wecom(&pings()).await;
    assert!(
        !text.contains(['<', '@', '`']) && !text.contains("](http://evil)"),
        "{text}"
    );
}

#[tokio::test]
async fn wecom_s_limit() {
    for text in ["卡", "a", "<@all>", "👩‍💻"] {
        let content = wecom(&huge(text, text)).await;
        assert!(
            content.len() <= 4_096 && content.len() > 1_000,
            "{} bytes of {text:?}",
            content.len()
        );
        assert!(content.ends_with("in the dashboard"), "{content}");
    }
    // Lines of many lengths, so that some end right at the limit.
    for length in 0..30 {
        let mut notice = huge("a", &"x".repeat(4 * length));
        for group in &mut notice.groups {
            group.handler = "h".repeat(100);
            group.newest.clear();
        }
        let content = wecom(&notice).await;
        assert!(
            (3_500..=4_096).contains(&content.len()),
            "{} bytes",
            content.len()
        );
    }
}
