//! A wrong configuration is an error when the channel is built.

use std::time::Duration;

use idem_ops::alert::{Email, EmailBuilder, EmailConfigError, Protection};
use idem_ops::{Secret, SecretError};

use crate::common::tls;

fn to(url: &str) -> EmailBuilder {
    let root = tls::identity(&["localhost"]).root;
    Email::smtp(url)
        .from("idem <alerts@example.com>")
        .to("on-call@example.com")
        .root_certificate(root)
}

fn wrong(builder: EmailBuilder) -> EmailConfigError {
    builder.build().unwrap_err()
}

#[test]
fn how_mail_is_protected_stands_in_the_address() {
    for (url, protection) in [
        ("smtp://mail.example.com", Protection::StartTls),
        (
            "smtp://mail.example.com:2525?tls=required",
            Protection::StartTls,
        ),
        ("smtps://mail.example.com/", Protection::Implicit),
        ("smtp://127.0.0.1?tls=none", Protection::Plain),
        ("smtp://127.0.0.9:2525?tls=none", Protection::Plain),
        ("smtp://[::1]:25?tls=none", Protection::Plain),
        ("smtp://localhost?tls=none", Protection::Plain),
    ] {
        assert_eq!(to(url).build().unwrap().protection(), protection, "{url}");
    }
}

#[test]
fn addresses_of_servers() {
    assert!(matches!(
        wrong(to("mail.example.com")),
        EmailConfigError::Url { .. }
    ));
    assert!(matches!(
        wrong(to("smtp://mail.example.com/inbox")),
        EmailConfigError::Url { .. }
    ));
    assert!(matches!(
        wrong(to("smtp://mail.example.com:99999")),
        EmailConfigError::Url { .. }
    ));
    assert_eq!(
        wrong(to("imap://mail.example.com")),
        EmailConfigError::Scheme {
            scheme: "imap".into()
        }
    );
    assert!(matches!(
        wrong(to("smtp://")),
        EmailConfigError::NoHost | EmailConfigError::Url { .. }
    ));
    assert_eq!(
        wrong(to("smtp://mail.example.com?tls=maybe")),
        EmailConfigError::Tls {
            value: "maybe".into()
        }
    );
    assert_eq!(
        wrong(to("smtps://localhost?tls=none")),
        EmailConfigError::Tls {
            value: "none".into()
        }
    );
    assert_eq!(
        wrong(to("smtp://mail.example.com?pool=9")),
        EmailConfigError::Option {
            name: "pool".into()
        }
    );
    for host in [
        "mail.example.com",
        "10.0.0.1",
        "localhost.example.com",
        "127.0.0.1.example.com",
    ] {
        let error = wrong(to(&format!("smtp://{host}?tls=none")));
        assert_eq!(
            error,
            EmailConfigError::PlainOverNetwork { host: host.into() }
        );
    }
}

#[test]
fn passwords() {
    assert!(!format!("{:?}", to("smtp://me:hunter2@mail.example.com")).contains("hunter2"));
    let error = wrong(to("smtp://me:hunter2@mail.example.com"));
    assert_eq!(error, EmailConfigError::PasswordInUrl);
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    let me = "smtp://me%40example.com@mail.example.com";
    assert_eq!(
        wrong(to(me)),
        EmailConfigError::NoPassword {
            user: "me@example.com".into()
        }
    );
    assert_eq!(
        wrong(to("smtp://mail.example.com").password(Secret::new("x"))),
        EmailConfigError::NoUser
    );
    assert!(matches!(
        Secret::from_file("/no/such/file"),
        Err(SecretError::File { .. })
    ));
    let error = Secret::from_env("IDEM_NO_SUCH_VARIABLE").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the environment variable `IDEM_NO_SUCH_VARIABLE` is not set, or is not UTF-8"
    );
    let builder = to(me).password(Secret::new("hunter2"));
    assert!(!format!("{builder:?}").contains("hunter2"));
    assert!(!format!("{:?}", builder.build().unwrap()).contains("hunter2"));
}

#[test]
fn people() {
    let server = "smtp://mail.example.com";
    assert_eq!(
        wrong(Email::smtp(server).to("a@example.com")),
        EmailConfigError::NoFrom
    );
    assert_eq!(
        wrong(Email::smtp(server).from("a@example.com")),
        EmailConfigError::NoTo
    );
    for text in [
        "",
        "nobody",
        "a@b@c",
        "a@example.com\r\nBcc: b@example.com",
        "x\n <a@example.com>",
        "a@example.com, b",
    ] {
        assert!(
            matches!(wrong(to(server).to(text)), EmailConfigError::Address { .. }),
            "{text:?}"
        );
        assert!(
            matches!(
                wrong(to(server).from(text)),
                EmailConfigError::Address { .. }
            ),
            "{text:?}"
        );
    }
    let error = wrong(to(server).to("nobody"));
    assert!(
        error
            .to_string()
            .starts_with("`nobody` is not a mail address"),
        "{error}"
    );
}

#[test]
fn the_rest() {
    let server = "smtp://mail.example.com";
    assert_eq!(
        wrong(to(server).timeout(Duration::ZERO)),
        EmailConfigError::NoTime
    );
    assert!(matches!(
        wrong(to(server).root_certificate("no PEM")),
        EmailConfigError::Certificate { .. }
    ));
    let half = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(
        wrong(to(server).root_certificate(half)),
        EmailConfigError::Certificate { .. }
    ));
    assert!(matches!(
        wrong(to(server).hello_name("a b\r\nRSET")),
        EmailConfigError::Hello { .. }
    ));
}
