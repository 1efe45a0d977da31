//! The monitor's process is killed between sending and recording.

use std::process::{Child, Command, Stdio};

use idem_ops::monitor::{AlertState, Monitor};
use idem_runtime::Idem;
use mail_parser::MessageParser;

use crate::common::smtp::{Mode, Mood, PASSWORD, SmtpServer, USER};
use crate::common::within;
use crate::die;

const FOLDER: &str = "IDEM_TEST_FOLDER";

/// A process that does not outlive the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn start(folder: &std::path::Path, server: &SmtpServer) -> Killed {
    let root = folder.with_extension("pem");
    std::fs::write(&root, server.root()).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "killed::monitor_of_the_parent",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .env(
            "IDEM_TEST_SMTP",
            server
                .url()
                .replacen("://", &format!("://{}@", USER.replace('@', "%40")), 1),
        )
        .env("IDEM_TEST_ROOT", root)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Killed(child)
}

#[tokio::test]
#[ignore = "the process that another test starts and kills"]
async fn monitor_of_the_parent() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let idem = Idem::open(folder).unwrap();
    let email = idem_ops::alert::Email::smtp(std::env::var("IDEM_TEST_SMTP").unwrap())
        .root_certificate(std::fs::read(std::env::var("IDEM_TEST_ROOT").unwrap()).unwrap())
        .password(idem_ops::Secret::new(PASSWORD))
        .from("idem@example.com")
        .to("oncall@example.com")
        .build()
        .unwrap();
    let _watch = Monitor::new(&idem, "orders")
        .channel(email)
        .start()
        .unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_sending_and_recording_sends_one_copy_more_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let idem = Idem::open(&data).unwrap();
    die(&idem, 0..3, "no stock").await;
    drop(idem);

    let mut server = SmtpServer::start(Mode::StartTls).await;
    // The mail is taken, and the answer to it never comes: sent, and not recorded.
    server.mood(Mood::HangAfterMail);
    let child = start(&data, &server);
    within(server.hung()).await;
    drop(child);

    let idem = Idem::open(&data).unwrap();
    let waiting = idem.notes().list("alerts/out/", None, 10).await.unwrap();
    let [waiting] = &waiting[..] else {
        panic!("one notice is on its way: {waiting:?}")
    };
    let notice = waiting.key.rsplit('/').next().unwrap().to_owned();
    assert_eq!(AlertState::of(&idem).await.unwrap().untold, 0);
    drop(idem);

    server.mood(Mood::Well);
    let child = start(&data, &server);
    let copy = within(server.mail()).await;
    let id = MessageParser::default()
        .parse(&copy.data)
        .unwrap()
        .message_id()
        .unwrap()
        .to_owned();
    assert!(
        id.starts_with(&notice),
        "a reader can tell the copy: {id} of {notice}"
    );
    drop(child);

    // Whatever became of the second recording, nothing is left untold.
    let idem = Idem::open(&data).unwrap();
    let state = AlertState::of(&idem).await.unwrap();
    assert_eq!(state.untold, 0);
    assert!(
        state
            .channels
            .first()
            .is_none_or(|channel| channel.waiting <= 1)
    );
}
