//! What only a running service can do, and the ways in which it cannot be asked.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::served::Served;
use crate::support::{At, TOKEN, command, ended};
use idem_test_support::http::{Answer, HttpServer};
use idem_test_support::tls::identity;
use idem_test_support::within;

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_run_and_its_failure_is_told() {
    let served = Served::start(1).await;
    let (at, id) = (served.at(), served.ids[0].to_string());
    let said = at
        .idem(&["dlq", "redrive", &id, "--yes", "--why", "hope"])
        .await
        .ended(1);
    assert!(
        said.out.contains("it did not succeed: out of stock"),
        "{said:?}"
    );
    let open = at.json(&["dlq", "list"]).await["letters"][0]["id"].clone();
    assert!(
        said.out.contains(open.as_str().unwrap()),
        "its new letter: {said:?}"
    );
    let said = at
        .idem(&[
            "dlq",
            "redrive",
            open.as_str().unwrap(),
            "--yes",
            "--why",
            "hope",
            "--json",
        ])
        .await
        .ended(1);
    assert_eq!(said.json()["ran"]["failed"]["error"], "out of stock");
}

/// What answers may be anything: it ends within the time, or where it is too large.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_an_end_has_one() {
    for (headers, piece, said) in [
        (
            "content-type: application/json\r\n\r\n",
            vec![b' '; 1 << 20],
            "more than 64 MiB",
        ),
        (
            "content-type: application/json\r\n",
            b"x-more: more\r\n".to_vec(),
            "cannot be reached",
        ),
        (
            "content-length: 9000000000000000000\r\n\r\n",
            vec![b'a'; 1 << 20],
            "more than 64 MiB",
        ),
    ] {
        let url = endless(headers, piece).await;
        for words in [&["stats"][..], &["dlq", "list"], &["doctor"]] {
            let told = At::Service(url.clone()).idem(words).await;
            assert_ne!(told.code, 0, "{told:?}");
            assert!(
                format!("{}{}", told.out, told.err)
                    .replace(['\n', '│'], " ")
                    .contains(said)
                    || words == ["doctor"],
                "{told:?}"
            );
        }
    }
    let url = slow().await;
    let told = At::Service(url)
        .idem(&["stats", "--timeout", "1"])
        .await
        .ended(3);
    assert!(told.err.contains("no answer within 1 s"), "{told:?}");
}

/// A service that answers with this, and then with the same piece for ever.
async fn endless(headers: &'static str, piece: Vec<u8>) -> String {
    answering(move |mut stream| {
        let piece = piece.clone();
        async move {
            let _ = stream
                .write_all(format!("HTTP/1.1 200 OK\r\n{headers}").as_bytes())
                .await;
            while stream.write_all(&piece).await.is_ok() {}
        }
    })
    .await
}

/// A service whose answers never come to their end.
async fn slow() -> String {
    answering(|mut stream| async move {
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{")
            .await;
        std::future::pending::<()>().await;
    })
    .await
}

async fn answering<F: Future<Output = ()> + Send + 'static>(
    answer: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
) -> String {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // A client takes an answer for none before it has asked.
            if stream.read(&mut [0; 4096]).await.is_ok() {
                tokio::spawn(answer(stream));
            }
        }
    });
    format!("http://{address}/ops")
}

#[tokio::test(flavor = "multi_thread")]
async fn rearming_leaves_the_run_to_the_next_call() {
    let served = Served::start(1).await;
    let said = served
        .at()
        .idem(&[
            "dlq",
            "redrive",
            &served.ids[0].to_string(),
            "--rearm",
            "--yes",
            "--why",
            "later",
        ])
        .await;
    assert!(said.well().out.contains("re-armed"));
    assert_eq!(
        served.at().json(&["explain", "orders.place", "A-1"]).await["now"]["state"],
        "waiting"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_letters_are_run_and_what_failed_is_told() {
    let served = Served::start(4).await;
    let at = served.at();
    let fine = json!({ "order": { "order_no": "A-2", "qty": 1, "note": "" } }).to_string();
    at.told(
        &[
            "dlq",
            "edit",
            &served.ids[1].to_string(),
            "--payload",
            "-",
            "--why",
            "fits",
        ],
        &fine,
    )
    .await
    .well();
    let said = at
        .idem(&[
            "dlq",
            "redrive",
            "--all",
            "--rate",
            "500",
            "--yes",
            "--why",
            "all of them",
            "--json",
        ])
        .await
        .ended(1);
    let redrive = said.json();
    assert_eq!(
        [
            &redrive["state"],
            &redrive["total"],
            &redrive["done"],
            &redrive["failed"]
        ],
        [&json!("finished"), &json!(4), &json!(1), &json!(3)],
        "{redrive:#}"
    );
    let group = [
        "dlq",
        "redrive",
        "--handler",
        "orders.place",
        "--group",
        "no such sku",
        "--yes",
        "--why",
        "again",
    ];
    let said = at.idem(&group).await.ended(1);
    assert!(
        said.out.contains("no such sku") && said.out.contains("finished"),
        "{said:?}"
    );
    assert_eq!(
        at.json(&["dlq", "bulk"]).await["bulks"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_goes_on_by_itself_and_can_be_stopped() {
    let served = Served::start(5).await;
    let at = served.at();
    let begun = at
        .json(&[
            "dlq",
            "redrive",
            "--all",
            "--rate",
            "0.01",
            "--no-wait",
            "--yes",
            "--why",
            "slowly",
        ])
        .await;
    assert_eq!(begun["state"], "running", "{begun:#}");
    let stopped = at
        .json(&[
            "dlq",
            "cancel",
            begun["id"].as_str().unwrap(),
            "--why",
            "enough",
        ])
        .await;
    assert_eq!(stopped["state"], "cancelled", "{stopped:#}");
    let again = at
        .idem(&["dlq", "cancel", begun["id"].as_str().unwrap()])
        .await
        .ended(1);
    assert!(again.err.contains("ended already"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_a_service_was_stopped_in_is_left_to_it() {
    let served = Served::start(5).await;
    let begun = served
        .at()
        .json(&[
            "dlq",
            "redrive",
            "--all",
            "--rate",
            "0.01",
            "--no-wait",
            "--yes",
            "--why",
            "x",
        ])
        .await;
    let id = begun["id"].as_str().unwrap();
    within(async { while served.at().json(&["dlq", "bulk"]).await["bulks"][0]["failed"] == 0 {} })
        .await;
    served.idem.close().await.unwrap();
    let note = async || {
        let idem = idem_runtime::Idem::open(served.data.path()).unwrap();
        let notes = idem.notes().list("bulk/", None, 10).await.unwrap();
        idem.close().await.unwrap();
        notes
    };
    let (before, at) = (note().await, At::folder(served.data.path()));
    assert_eq!(before.len(), 1);
    for words in [
        &["dlq", "list"][..],
        &["stats"],
        &["dlq", "export"],
        &["explain", "orders.place", "A-1"],
    ] {
        at.idem(words).await.well();
    }
    assert!(
        at.idem(&["dlq", "bulk"])
            .await
            .well()
            .out
            .contains("unfinished")
    );
    let found = async || {
        let checkup = at.idem(&["doctor", "--json"]).await.ended(1).json();
        let findings = checkup["findings"].as_array().unwrap().iter();
        findings
            .filter(|finding| finding["kind"] == "unfinished_redrives")
            .cloned()
            .collect::<Vec<_>>()
    };
    let finding = found().await.pop().unwrap();
    assert!(
        finding["what"]
            .as_str()
            .unwrap()
            .contains(&format!("redrive {id} of 5 letters")),
        "{finding}"
    );
    assert!(
        finding["fix"]
            .as_str()
            .unwrap()
            .contains("start the service"),
        "{finding}"
    );
    // An act of its own stands beside it.
    let two = [served.ids[0].to_string(), served.ids[1].to_string()];
    let own = at
        .json(&["dlq", "discard", &two[0], &two[1], "--yes", "--why", "old"])
        .await;
    assert_eq!(
        (&own["state"], &own["done"]),
        (&json!("finished"), &json!(2)),
        "{own:#}"
    );
    assert_eq!(
        note().await[0],
        before[0],
        "a look at the folder went on with it"
    );

    let stopped = at.json(&["dlq", "cancel", id, "--why", "enough"]).await;
    assert_eq!(
        (&stopped["state"], &stopped["failed"]),
        (&json!("cancelled"), &json!(1)),
        "{stopped:#}"
    );
    assert_eq!(found().await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_discarded_behind_ones_back_and_stopped() {
    let served = Served::start(5).await;
    let at = served.at();
    let words = [
        "dlq",
        "discard",
        "--all",
        "--rate",
        "0.01",
        "--yes",
        "--why",
        "old",
        "--no-wait",
    ];
    let begun = at.json(&words).await;
    assert_eq!(
        (&begun["state"], &begun["asked"]["deed"]),
        (&json!("running"), &json!("discard")),
        "{begun:#}"
    );
    assert!(
        at.idem(&["dlq", "bulk"])
            .await
            .well()
            .out
            .contains("discard")
    );
    let stopped = at
        .json(&["dlq", "cancel", begun["id"].as_str().unwrap()])
        .await;
    assert_eq!(stopped["state"], "cancelled", "{stopped:#}");
    let said = At::folder(served.data.path()).idem(&words).await.ended(3);
    assert!(said.err.contains("is held by"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_stops_what_is_done_to_many() {
    for act in ["redrive", "discard"] {
        interrupted(act).await;
    }
}

async fn interrupted(act: &str) {
    let served = Served::start(5).await;
    let at = served.at();
    let child = at
        .command(&[
            "dlq", act, "--all", "--rate", "0.01", "--yes", "--why", "slowly", "--json",
        ])
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    within(async { while at.json(&["dlq", "bulk"]).await["bulks"] == json!([]) {} }).await;
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = within(child.wait_with_output()).await.unwrap();
    let ended: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &ended["state"]),
        (Some(1), &json!("cancelled")),
        "{ended:#}"
    );
    assert_eq!(
        at.json(&["dlq", "bulk"]).await["bulks"][0]["state"],
        "cancelled"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_comes_from_a_file_or_the_environment_and_is_checked() {
    let served = Served::start(1).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{TOKEN}\n")).unwrap();
    let list = |url: &str| {
        let mut command = command();
        command.args(["dlq", "list", "--url", url]);
        command
    };
    ended(list(&served.url()).arg("--token-file").arg(file.path()))
        .await
        .well();
    // The file wins.
    ended(
        list(&served.url())
            .env("IDEM_TOKEN", "wrong")
            .arg("--token-file")
            .arg(file.path()),
    )
    .await
    .well();
    for words in [
        &["dlq", "list"][..],
        &["stats"],
        &["dlq", "export"],
        &["doctor"],
    ] {
        let mut wrong = command();
        let said = ended(
            wrong
                .args(words)
                .args(["--url", &served.url()])
                .env("IDEM_TOKEN", "a wrong one"),
        )
        .await
        .ended(1);
        let text = format!("{}{}", said.out, said.err);
        assert!(
            text.contains("does not know the token"),
            "{words:?}: {said:?}"
        );
        assert!(!text.contains("a wrong one"), "{words:?}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_down_ends_with_three() {
    // A port without a listener.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let at = At::Service(format!("http://127.0.0.1:{port}/"));
    for words in [
        &["dlq", "list"][..],
        &["stats"],
        &["explain", "a", "b"],
        &["dlq", "export"],
        &["dlq", "bulk"],
    ] {
        let said = at.idem(words).await.ended(3);
        assert!(
            said.err.contains("cannot be reached") && said.out.is_empty(),
            "{said:?}"
        );
        assert!(!said.err.contains(TOKEN), "{said:?}");
    }
    let checkup = at.idem(&["doctor", "--json"]).await.ended(3).json();
    assert_eq!(
        (&checkup["healthy"], &checkup["findings"][0]["kind"]),
        (&json!(false), &json!("unreachable"))
    );

    let silent = HttpServer::start(Answer::Never).await;
    let said = At::Service(silent.url("/"))
        .idem(&["stats", "--timeout", "1"])
        .await
        .ended(3);
    assert!(said.err.contains("no answer within 1 s"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_idem_is_said_to_be_none() {
    let page = "<html>\u{1b}[31mnot found</html>";
    for (answer, code) in [
        (Answer::ok(page), 1),
        (Answer::ok("{}"), 1),
        (Answer::status(404), 1),
        (Answer::status(502), 3),
        (
            Answer::Status(
                302,
                Some(("location", "http://127.0.0.1:1/")),
                String::new(),
            ),
            1,
        ),
        (
            Answer::Status(
                500,
                None,
                json!({ "title": "x", "detail": "the \u{1b}[31mdisk is full" }).to_string(),
            ),
            1,
        ),
    ] {
        let other = HttpServer::start(answer.clone()).await;
        let said = At::Service(other.url("/ops/"))
            .idem(&["stats"])
            .await
            .ended(code);
        assert!(
            !said.err.is_empty() && !said.err.contains('\u{1b}'),
            "{answer:?}: {said:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_a_known_authority_is_believed() {
    let identity = identity(&["127.0.0.1"]);
    let ca = tempfile::NamedTempFile::new().unwrap();
    fs::write(ca.path(), &identity.root).unwrap();
    let mut server = HttpServer::start_tls(Answer::status(401), identity).await;
    let at = At::Service(server.url("/"));
    let said = at.idem(&["stats"]).await;
    assert!(
        said.code != 0 && server.rest().is_empty(),
        "the token went to a stranger: {said:?}"
    );
    let said = ended(at.command(&["stats", "--ca-file"]).arg(ca.path()))
        .await
        .ended(1);
    assert!(said.err.contains("does not know the token"), "{said:?}");
    let request = server.request().await;
    assert_eq!(request.header("authorization"), format!("Bearer {TOKEN}"));
    let said = ended(&mut at.command(&["stats", "--ca-file", "/dev/null"]))
        .await
        .ended(2);
    assert!(said.err.contains("no `BEGIN CERTIFICATE`"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doctor_of_a_service_finds_what_waits() {
    let served = Served::start(2).await;
    let checkup = served
        .at()
        .idem(&["doctor", "--json"])
        .await
        .ended(1)
        .json();
    assert_eq!(
        checkup["findings"][0]["kind"], "open_letters",
        "{checkup:#}"
    );
    served
        .at()
        .idem(&["dlq", "discard", "--all", "--yes", "--why", "old"])
        .await
        .ended(0);
    let checkup = served
        .at()
        .idem(&["doctor", "--json"])
        .await
        .ended(0)
        .json();
    assert_eq!(checkup["healthy"], true, "{checkup:#}");
    let closed = served.idem.close().await;
    assert!(closed.is_ok(), "{closed:?}");
    let checkup = served
        .at()
        .idem(&["doctor", "--json"])
        .await
        .ended(1)
        .json();
    assert_eq!(checkup["findings"][0]["kind"], "down", "{checkup:#}");
}
