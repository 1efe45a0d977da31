//! What is wrong with a webhook is said when it is built, without its address.

use std::time::Duration;

use idem_ops::Secret;
use idem_ops::alert::{Webhook, WebhookBuilder, WebhookConfigError};

use crate::common::tls;

const TOKEN: &str = "XXtokenXX0123456789";

fn wrong(builder: WebhookBuilder) -> WebhookConfigError {
    assert!(!format!("{builder:?}").contains(TOKEN));
    let error = builder.build().unwrap_err();
    assert!(!format!("{error} {error:?}").contains(TOKEN));
    error
}

fn signed(url: &str) -> WebhookBuilder {
    Webhook::json(url).secret(Secret::new("correct horse"))
}

#[test]
fn https_unless_it_is_the_loopback() {
    for url in [
        "http://127.0.0.1:1/",
        "http://localhost/",
        "http://[::1]:1/",
    ] {
        signed(url).build().unwrap();
    }
    let root = tls::identity(&["localhost"]).root;
    signed("https://hooks.example.com/")
        .root_certificate(root)
        .build()
        .unwrap();
    for host in [
        "hooks.example.com",
        "10.0.0.1",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "[::2]",
    ] {
        assert_eq!(
            wrong(signed(&format!("http://{host}/{TOKEN}"))),
            WebhookConfigError::NotHttps,
            "{host}"
        );
    }
    assert_eq!(
        wrong(signed(&format!("ftp://localhost/{TOKEN}"))),
        WebhookConfigError::NotHttps
    );
    for url in [
        "",
        "hooks.example.com",
        "https://",
        "https://me:XXtokenXX0123456789@example.com/",
        "unix:/run/x",
    ] {
        assert!(
            matches!(wrong(signed(url)), WebhookConfigError::Url { .. }),
            "{url}"
        );
    }
}

#[test]
fn secrets_where_they_belong() {
    assert_eq!(
        wrong(Webhook::json("http://localhost/")),
        WebhookConfigError::NoSecret
    );
    for bad in ["", "whsec_", "whsec_no base64"] {
        assert_eq!(
            wrong(Webhook::json("http://localhost/").secret(Secret::new(bad))),
            WebhookConfigError::BadSecret
        );
    }
    for (service, make) in [
        ("slack", Webhook::slack("http://localhost/")),
        ("wecom", Webhook::wecom("http://localhost/")),
    ] {
        let error = wrong(make.secret(Secret::new(TOKEN)));
        assert_eq!(error, WebhookConfigError::NeedlessSecret { service });
    }
    let url = format!("http://localhost/{TOKEN}");
    let webhook = Webhook::feishu(url)
        .secret(Secret::new(TOKEN))
        .build()
        .unwrap();
    assert!(!format!("{webhook:?}").contains(TOKEN));
}

#[test]
fn the_rest() {
    assert_eq!(
        wrong(signed("http://localhost/").timeout(Duration::ZERO)),
        WebhookConfigError::NoTime
    );
    let error = wrong(signed("https://localhost/").root_certificate("no PEM"));
    assert!(matches!(error, WebhookConfigError::Certificate { .. }));
}
