//! What a terminal is shown and asked, on a real one.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;

use idem_runtime::Idem;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::process::Command;

use crate::support::{At, PlaceOrder, bury, folder, order};
use idem_test_support::within;

/// Keys, notes and names with which others' terminals were steered.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[31m\u{9b}2J\r\u{202e}x\u{8}";

/// Runs the command on a terminal of its own, and answers what it is asked.
async fn on_terminal(mut command: Command, answer: &str) -> (i32, String) {
    let control = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&control).unwrap();
    unlockpt(&control).unwrap();
    let name = ptsname(&control, Vec::new()).unwrap();
    let terminal = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let end = || Stdio::from(terminal.try_clone().unwrap());
    let mut child = command
        .env("TERM", "xterm")
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .unwrap();
    // Closes the ends that are left here, so that reading ends with the command.
    drop(command);
    drop(terminal);
    let mut control = File::from(control);
    control.write_all(answer.as_bytes()).unwrap();
    let reading = tokio::task::spawn_blocking(move || {
        let (mut text, mut piece) = (Vec::new(), [0; 4096]);
        // The end of a terminal is an error.
        while let Ok(read @ 1..) = control.read(&mut piece) {
            text.extend_from_slice(&piece[..read]);
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let text = within(reading).await.unwrap();
    let status = within(child.wait()).await.unwrap();
    (status.code().unwrap(), text)
}

#[tokio::test]
async fn a_person_is_asked_before_what_cannot_be_undone() {
    let (data, ids) = folder(1).await;
    let at = At::folder(data.path());
    let id = ids[0].to_string();
    let discard = || at.command(&["dlq", "discard", &id, "--why", "old"]);
    let (code, text) = on_terminal(discard(), "n").await;
    assert!(
        code == 1 && text.contains("Discard 1 open letter?") && text.contains("nothing was done"),
        "{code}: {text}"
    );
    assert_eq!(at.json(&["dlq", "list"]).await["total"], 1);
    // Return alone does not mean yes.
    let (code, _) = on_terminal(discard(), "\r").await;
    assert_eq!(
        (code, &at.json(&["dlq", "list"]).await["total"]),
        (1, &1.into())
    );
    let (code, text) = on_terminal(discard(), "y").await;
    assert!(
        code == 0 && text.contains("1 letter is discarded"),
        "{code}: {text}"
    );
    assert_eq!(at.json(&["dlq", "list"]).await["total"], 0);
}

#[tokio::test]
async fn a_person_is_asked_why() {
    let (data, ids) = folder(1).await;
    let at = At::folder(data.path());
    let (code, text) = on_terminal(
        at.command(&["dlq", "discard", &ids[0].to_string(), "--yes"]),
        "too old\r",
    )
    .await;
    assert!(
        code == 0 && text.contains("Why are they discarded?"),
        "{code}: {text}"
    );
    let letter = at.json(&["dlq", "show", &ids[0].to_string()]).await["letter"].clone();
    assert_eq!(letter["closed_why"], "too old");
}

#[tokio::test]
async fn colours_are_for_terminals_that_want_them() {
    let (data, _) = folder(1).await;
    let at = At::folder(data.path());
    let (code, text) = on_terminal(at.command(&["dlq", "list"]), "").await;
    assert!(
        code == 0 && text.contains("\u{1b}[38;5;9m"),
        "red: {text:?}"
    );
    let mut plain = at.command(&["dlq", "list"]);
    plain.env("NO_COLOR", "1");
    let (_, text) = on_terminal(plain, "").await;
    assert!(
        !text.contains('\u{1b}') && text.contains("out of stock"),
        "{text:?}"
    );
    let mut empty = at.command(&["dlq", "list"]);
    empty.env("NO_COLOR", "");
    assert!(
        on_terminal(empty, "").await.1.contains('\u{1b}'),
        "an empty value says nothing"
    );
    assert!(
        !at.idem(&["dlq", "list"])
            .await
            .well()
            .out
            .contains('\u{1b}')
    );
}

#[tokio::test]
async fn no_letter_steers_a_terminal() {
    let data = tempfile::tempdir().unwrap();
    let idem = Idem::open(data.path()).unwrap();
    let key = format!("A{HOSTILE}");
    let ids = bury(
        &idem,
        [PlaceOrder {
            note: format!("no\n{HOSTILE}"),
            ..order(&key, "")
        }],
    )
    .await;
    idem.dead_letters()
        .by(HOSTILE)
        .edit(&ids[0], serde_json::json!({ HOSTILE: HOSTILE }), HOSTILE)
        .await
        .unwrap();
    idem.close().await.unwrap();
    let (at, id) = (At::folder(data.path()), ids[0].to_string());
    let cases: &[&[&str]] = &[
        &["dlq", "list"],
        &["dlq", "list", "--groups"],
        &["dlq", "show", &id],
        &["dlq", "export"],
        &["explain", "orders.place", &key],
        &["doctor"],
        &["dlq", "list", "--json"],
        &["dlq", "show", &id, "--json"],
        &["dlq", "list", "--handler", HOSTILE],
        &["dlq", "discard", "--handler", HOSTILE, "--why", "x"],
        &["dlq", "redrive", &id, "--why", "x"],
        &["dlq", "show", HOSTILE],
    ];
    for words in cases {
        let said = at.idem(words).await;
        for text in [&said.out, &said.err] {
            let bad = text
                .chars()
                .find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
            assert_eq!(bad, None, "{words:?}: {text:?}");
        }
        assert!(!(said.out.is_empty() && said.err.is_empty()), "{words:?}");
    }
    let shown = at.json(&["dlq", "show", &id]).await["letter"].clone();
    assert_eq!(
        shown["payload"],
        serde_json::json!({ HOSTILE: HOSTILE }),
        "JSON is whole all the same"
    );
    assert!(shown["key"].as_str().unwrap().contains(HOSTILE), "{shown}");
}

#[tokio::test]
async fn a_reader_that_has_enough_is_no_error() {
    let (data, ids) = folder(60).await;
    let at = At::folder(data.path());
    let mut export = at.command(&["dlq", "export"]);
    let mut child = export.spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut first = [0; 1];
    within(tokio::io::AsyncReadExt::read_exact(&mut out, &mut first))
        .await
        .unwrap();
    // As `head` does when it has enough.
    drop(out);
    let ended = within(child.wait_with_output()).await.unwrap();
    assert_eq!(
        (
            ended.status.code(),
            String::from_utf8_lossy(&ended.stderr).as_ref()
        ),
        (Some(0), "")
    );

    let binary = env!("CARGO_BIN_EXE_idem");
    for words in [
        "dlq list",
        "dlq list --json",
        "dlq export",
        "man",
        "completions bash",
        "--help",
    ] {
        let place = if words.starts_with("dlq") {
            format!("--data '{}'", data.path().display())
        } else {
            String::new()
        };
        let script = format!("set -o pipefail; '{binary}' {words} {place} | true; echo $?");
        let output = within(Command::new("bash").args(["-c", &script]).output())
            .await
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n", "{words}");
    }
    // A redrive is not cut short when its output is not read.
    let script = format!(
        "'{binary}' dlq redrive --all --yes --why x --rate 1000 --data '{}' | true",
        data.path().display()
    );
    within(Command::new("bash").args(["-c", &script]).status())
        .await
        .unwrap();
    assert_eq!(
        at.json(&["dlq", "list", "--state", "redriven"]).await["total"],
        ids.len()
    );
}
