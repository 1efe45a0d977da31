//! Help, what packagers install, and arguments that cannot be used.

use crate::support::{At, command, ended, folder, idem};

#[tokio::test]
async fn help_and_man_page_say_the_exit_codes() {
    let help = idem(&["--help"]).await.well().out;
    for line in [
        "  0  done",
        "  2  the arguments cannot be used",
        "  3  the service or the database cannot be reached",
    ] {
        assert!(help.contains(line), "{help}");
    }
    let man = idem(&["man"]).await.well().out;
    assert!(
        man.contains(".SH \"EXIT STATUS\"") && man.contains("another process holds the folder"),
        "{man}"
    );
    assert!(
        man.contains("IDEM_TOKEN") && man.contains(".SH SUBCOMMANDS"),
        "{man}"
    );
}

#[tokio::test]
async fn there_is_a_man_page_for_every_command() {
    let pages = tempfile::tempdir().unwrap();
    let dir = pages.path().join("man1");
    ended(command().args(["man", "--dir"]).arg(&dir))
        .await
        .well();
    for page in [
        "idem.1",
        "idem-dlq.1",
        "idem-dlq-redrive.1",
        "idem-doctor.1",
        "idem-explain.1",
    ] {
        assert!(
            std::fs::read_to_string(dir.join(page))
                .unwrap()
                .contains(".TH"),
            "{page}"
        );
    }
    assert!(
        std::fs::read_to_string(dir.join("idem.1"))
            .unwrap()
            .contains("EXIT STATUS")
    );
}

#[tokio::test]
async fn shells_complete_it() {
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef idem"),
        ("fish", "complete -c idem"),
    ] {
        let script = idem(&["completions", shell]).await.well().out;
        assert!(
            script.contains(word) && script.contains("redrive"),
            "{shell}"
        );
    }
    // The one shell that is sure to be here reads its own.
    let script = idem(&["completions", "bash"]).await.well().out;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    assert!(
        std::process::Command::new("bash")
            .arg("-n")
            .arg(file.path())
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn what_cannot_be_used_ends_with_two_and_says_why() {
    let (data, ids) = folder(1).await;
    let data = data.path().to_str().unwrap();
    let id = ids[0].to_string();
    let cases: &[(&[&str], &str)] = &[
        (&["dlq", "list"], "which ledger?"),
        (
            &["dlq", "list", "--data", data, "--url", "http://127.0.0.1:1"],
            "are different places",
        ),
        (&["--data", data, "dlq", "redrive"], "required"),
        (
            &["--data", data, "dlq", "redrive", &id, "--all"],
            "cannot be used with",
        ),
        (
            &["--data", data, "dlq", "redrive", "--group", "out of stock"],
            "--handler",
        ),
        (
            &[
                "--data", data, "dlq", "redrive", "--all", "--rate", "0", "--why", "x",
            ],
            "from 0.01 to 1000",
        ),
        (
            &["--data", data, "dlq", "redrive", "--all", "--why", "x"],
            "say `--yes`",
        ),
        (&["--data", data, "dlq", "redrive", &id, "--yes"], "`--why`"),
        (
            &["--data", data, "dlq", "redrive", &id, "--yes", "--why", " "],
            "empty",
        ),
        (
            &[
                "--data",
                data,
                "dlq",
                "redrive",
                "--all",
                "--no-wait",
                "--yes",
                "--why",
                "x",
            ],
            "`--no-wait`",
        ),
        (
            &["--data", data, "dlq", "discard", "--all", "--why", "x"],
            "say `--yes`",
        ),
        (&["--data", data, "dlq", "show", "A-1"], "invalid value"),
        (
            &["--data", "/no/such/folder", "dlq", "list"],
            "is not a ledger",
        ),
        (
            &["--url", "http://example.com/idem", "dlq", "list"],
            "`--plain-http`",
        ),
        (
            &["--url", "ftp://example.com/idem", "dlq", "list"],
            "is not `http` or `https`",
        ),
        (
            &["--url", "https://ann:secret@example.com/", "dlq", "list"],
            "holds a user",
        ),
        (
            &["--url", "http://127.0.0.1:1", "dlq", "list"],
            "wants a token",
        ),
        (
            &[
                "--url",
                "http://127.0.0.1:1",
                "--token-file",
                "/no/such/file",
                "dlq",
                "list",
            ],
            "/no/such/file",
        ),
    ];
    for (words, why) in cases {
        let said = idem(words).await.ended(2);
        assert!(said.err.contains(why), "{words:?}: {}", said.err);
        assert_eq!(said.out, "", "{words:?}");
    }
    assert_eq!(
        At::folder(data.as_ref()).json(&["dlq", "list"]).await["total"],
        1,
        "none of it did anything"
    );
}

/// Files that people name end, or are refused; a pipe is one, as shells make it of a command's
/// output.
#[tokio::test]
async fn what_is_named_is_read_to_an_end() {
    let (data, ids) = folder(1).await;
    let (data, id) = (data.path().to_str().unwrap(), ids[0].to_string());
    let cases: &[&[&str]] = &[
        &[
            "--url",
            "http://127.0.0.1:1",
            "--token-file",
            "/dev/zero",
            "dlq",
            "list",
        ],
        &[
            "--url",
            "https://127.0.0.1:1",
            "--ca-file",
            "/dev/zero",
            "dlq",
            "list",
        ],
        &[
            "--data",
            data,
            "dlq",
            "edit",
            &id,
            "--payload",
            "/dev/zero",
            "--why",
            "x",
        ],
        &["--data", data, "watch", "--config", "/dev/zero"],
    ];
    for words in cases {
        let mut command = command();
        command.env("IDEM_TOKEN", "a token").args(*words);
        let said = ended(&mut command).await.ended(2);
        assert!(said.err.contains("/dev/zero"), "{words:?}: {said:?}");
    }
    let endless = std::fs::File::open("/dev/zero").unwrap();
    let mut command = command();
    command
        .args([
            "--data",
            data,
            "dlq",
            "edit",
            &id,
            "--payload",
            "-",
            "--why",
            "x",
        ])
        .stdin(endless);
    assert!(
        ended(&mut command).await.ended(2).err.contains("more than"),
        "the standard input"
    );

    let served = crate::served::Served::start(1).await;
    let script = format!(
        "exec \"$0\" --url {} --token-file <(echo '{}') stats",
        served.url(),
        crate::support::TOKEN
    );
    let mut command = crate::support::shell(&script);
    ended(&mut command).await.well();
}

#[tokio::test]
async fn a_folder_is_never_made() {
    let place = tempfile::tempdir().unwrap();
    let missing = place.path().join("dta");
    let said = At::folder(&missing).idem(&["stats"]).await.ended(2);
    assert!(
        said.err.contains("is not a ledger") && !missing.exists(),
        "{said:?}"
    );
    let said = At::folder(place.path()).idem(&["stats"]).await.ended(2);
    assert!(
        said.err.contains("neither `sled`, `fjall` nor `witness`"),
        "{said:?}"
    );
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_environment_says_where_and_arguments_win() {
    let (data, _) = folder(1).await;
    let said = ended(
        command()
            .env("IDEM_DATA", data.path())
            .args(["dlq", "list", "--json"]),
    )
    .await
    .well();
    assert_eq!(said.json()["total"], 1);
    let said = ended(command().env("IDEM_URL", "nonsense").args(["stats"]))
        .await
        .ended(2);
    assert!(said.err.contains("IDEM_URL is not an address"), "{said:?}");
    let mut command = At::folder(data.path()).command(&["stats"]);
    ended(command.env("IDEM_URL", "http://127.0.0.1:1"))
        .await
        .well();
}
