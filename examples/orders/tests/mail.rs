//! The mails about dead letters.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use idem_test_support::smtp::{Mode, SmtpServer};
use idem_test_support::within;
use mail_parser::MessageParser;

use crate::program::{DEAD, Served, orders};

pub(crate) async fn every_letter_is_in_a_mail() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let mut server = SmtpServer::start(Mode::Plain).await;
    let arguments = [
        "--json",
        "--smtp",
        &server.url(),
        "--mail-to",
        "oncall@example.com",
    ];
    let served = Served::start(orders(data.path(), arguments)?).await?;

    let mut missing: BTreeSet<_> = DEAD.into_iter().collect();
    while !missing.is_empty() {
        let mail = server.mail().await;
        ensure!(
            mail.to == ["oncall@example.com"] && mail.from == "orders@localhost",
            "{mail:?}"
        );
        let read = MessageParser::default()
            .parse(&mail.data)
            .context("cannot parse the mail")?;
        let (subject, text) = (
            read.subject().unwrap_or_default(),
            read.body_text(0).unwrap_or_default(),
        );
        ensure!(subject.contains("orders"), "{subject}");
        ensure!(
            text.contains(&served.url),
            "no link to the dashboard: {text}"
        );
        missing.retain(|key| !text.contains(key));
    }
    let summary = served.end().await?;
    ensure!(
        summary["dead_letters"]
            .as_array()
            .is_some_and(|letters| letters.len() == DEAD.len()),
        "{summary}"
    );
    Ok(())
}

pub(crate) async fn bad_arguments_say_what_is_missing() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    for (arguments, said) in [
        (
            &["--smtp", "smtp://127.0.0.1?tls=none", "--mail-to", "a@b.c"][..],
            "--serve",
        ),
        (
            &[
                "--serve",
                "127.0.0.1:0",
                "--smtp",
                "smtp://127.0.0.1?tls=none",
            ],
            "--mail-to",
        ),
        (
            &[
                "--serve",
                "127.0.0.1:0",
                "--smtp",
                "127.0.0.1:25",
                "--mail-to",
                "a@b.c",
            ],
            "smtp://",
        ),
        (
            &[
                "--serve",
                "127.0.0.1:0",
                "--smtp",
                "smtp://127.0.0.1?tls=none",
                "--mail-to",
                "a\r\nb@c",
            ],
            "control character",
        ),
        (&["--serve", "everywhere"], "--serve"),
    ] {
        let output = within(orders(data.path(), arguments)?.output()).await?;
        let error = String::from_utf8(output.stderr)?;
        ensure!(
            output.status.code() == Some(2) && output.stdout.is_empty(),
            "{arguments:?}: {error}"
        );
        ensure!(
            error.starts_with("orders: ") && error.contains(said),
            "{arguments:?}: {error}"
        );
        ensure!(error.trim_end().lines().count() == 1, "{error}");
    }
    Ok(())
}
