//! Bad configurations: each is an error that names the line and says what to do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use idem_ops::Config;
use idem_runtime::testing::temporary;

const GOOD: &str = r#"
service = "orders"
dashboard = "https://ops.example.com/idem/"

[policy]
digest_every = "15m"
new_groups_at_once = 3
escalate_after = "4h"

[[channel]]
kind = "email"
smtp = "smtp://127.0.0.1:2525?tls=none"
from = "idem <alerts@example.com>"
to = ["oncall@example.com", "second@example.com"]

[[channel]]
kind = "slack"
name = "slack of the bosses"
url_env = "PATH"
escalation = true
"#;

fn wrong(text: &str) -> String {
    let config = match text.parse::<Config>() {
        Ok(config) => config,
        Err(error) => return error.to_string(),
    };
    config
        .monitor(&temporary().unwrap())
        .err()
        .unwrap()
        .to_string()
}

#[test]
fn a_mistake_is_named_with_its_line() {
    for (from, to, says) in [
        ("service =", "service ", "line 2"),
        ("service = \"orders\"\n", "", "missing field `service`"),
        ("digest_every", "digest_evry", "line 6"),
        (
            "digest_every",
            "digest_evry",
            "unknown field `digest_evry`, expected one of `digest_every`",
        ),
        ("\"15m\"", "15", "line 6"),
        ("\"15m\"", "\"soon\"", "line 6"),
        ("\"15m\"", "\"-15m\"", "line 6"),
        (
            "escalate_after = \"4h\"",
            "escalate_after = \"4\"",
            "line 8",
        ),
        (
            "to = [\"oncall",
            "to_whom = [\"oncall",
            "unknown field `to_whom`",
        ),
        ("escalation = true", "escalation = \"yes\"", "line 20"),
        (
            "escalation = true",
            "errors = [\"no stock\"]\nrest = true",
            "line 16: `rest` is for",
        ),
        (
            "new_groups_at_once = 3",
            "new_groups_at_once = -3",
            "line 7",
        ),
        (
            "kind = \"email\"",
            "kind = \"pigeon\"",
            "line 11: a value does not fit here: expected one of `email`",
        ),
        (
            "smtp = \"smtp://127.0.0.1:2525?tls=none\"",
            "",
            "line 10: missing field `smtp`",
        ),
        (
            "127.0.0.1:2525?tls=none",
            "mail.example.com?tls=none",
            "line 10",
        ),
        (
            "to = [\"oncall@example.com\", \"second@example.com\"]",
            "to = [\"nobody\"]",
            "line 10",
        ),
        (
            "from = \"idem",
            "url_env = \"PATH\"\nfrom = \"idem",
            "line 13: unknown field `url_env`, expected one of `name`",
        ),
        (
            "url_env = \"PATH\"",
            "",
            "line 16: a webhook's address is a secret: it needs `url_file` or `url_env`",
        ),
        (
            "url_env = \"PATH\"",
            "url_env = \"NOT_SET_ANYWHERE\"",
            "NOT_SET_ANYWHERE",
        ),
        (
            "from = \"idem",
            "root_certificate = \"/no/such/file\"\nfrom = \"idem",
            "line 10: /no/such/file cannot be read",
        ),
        ("kind = \"email\"\n", "", "line 10: a channel needs `kind`"),
        (
            "kind = \"email\"",
            "kind = 4",
            "line 11: a channel needs `kind`",
        ),
        ("https://ops", "ops", "line 3"),
        ("[[channel]]", "[channel]", "line 16: duplicate key"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let said = wrong(&GOOD.replace(from, to));
        assert!(
            said.contains(says),
            "{from} -> {to}: expected `{says}` in: {said}"
        );
    }
}

#[test]
fn a_secret_is_in_no_error() {
    let said = wrong(GOOD);
    assert!(said.contains("line 16"), "the PATH is no address: {said}");
    assert!(!said.contains(&std::env::var("PATH").unwrap()), "{said}");
}

/// A message names the line of a misplaced value and does not show it.
#[test]
fn no_value_is_in_an_error_or_in_debug() {
    const WRITTEN: &str = "hunter2-4711";
    let smtp = "smtp = \"smtp://127.0.0.1:2525?tls=none\"";
    for (from, to) in [
        (smtp, "password = \"hunter2-4711\""),
        (
            smtp,
            "smtp = \"smtp://idem:hunter2-4711@127.0.0.1:2525?tls=none\"",
        ),
        (
            smtp,
            "smtp = \"smtp://idem:hunter2-4711@127.0.0.1:2525?tls=none",
        ),
        (smtp, "smtp = { password = \"hunter2-4711\" }"),
        (smtp, "password_file = \"a\" hunter2-4711"),
        (smtp, "password_file = hunter2-4711"),
        (
            "to = [\"oncall@example.com\", \"second@example.com\"]",
            "to = \"hunter2-4711\"",
        ),
        ("escalation = true", "escalation = \"hunter2-4711\""),
        ("kind = \"email\"", "kind = \"hunter2-4711\""),
        ("\"15m\"", "\"hunter2-4711\""),
        (
            "new_groups_at_once = 3",
            "new_groups_at_once = \"hunter2-4711\"",
        ),
        ("https://ops.example.com/idem/", "hunter2-4711"),
        ("[policy]", "[policy.\"hunter2-4711"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replace(from, to);
        let said = wrong(&text);
        assert!(said.contains("line "), "{to}: {said}");
        let parsed = text.parse::<Config>();
        for shown in [
            said,
            format!("{parsed:?}"),
            parsed.map_or_else(|error| format!("{error:#?}"), |_| String::new()),
        ] {
            assert!(!shown.contains(WRITTEN), "{to}: {shown}");
        }
    }
}

#[test]
fn trusted_proxies_are_read_and_checked() {
    let config: Config = format!("trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n{GOOD}")
        .parse()
        .unwrap();
    let networks = ["10.0.0.0/8", "::1"].map(|network| network.parse().unwrap());
    assert_eq!(config.trusted_proxies(), networks);
    assert!(wrong(&format!("\ntrusted_proxies = [\"10.0.0.0/99\"]\n{GOOD}")).contains("line 2"));
    assert!(GOOD.parse::<Config>().unwrap().trusted_proxies().is_empty());
}

#[test]
fn a_configuration_without_an_end_is_refused() {
    let error = Config::read("/dev/zero").unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
}

#[test]
fn the_readmes_example_is_a_configuration() {
    let readme = include_str!("../README.md");
    let example = readme
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    assert!(example.contains("[[channel]]"), "{example}");
    example.parse::<Config>().unwrap();
}
