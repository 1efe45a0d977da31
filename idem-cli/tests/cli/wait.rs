//! `--wait`: the command waits for the process that holds the folder.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use idem_runtime::Idem;
use idem_test_support::within;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::support::{At, folder};

/// Starts a command on a folder that this process holds, and returns it once it waits.
async fn waiting(path: &Path) -> Child {
    let words = ["--wait", "600", "dlq", "list"];
    let mut child = At::folder(path).command(&words).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    within(errors.read_line(&mut line)).await.unwrap();
    let us = format!("held by process {}", std::process::id());
    assert!(
        line.contains(&us) && line.contains("waiting for up to 600 s"),
        "{line}"
    );
    child
}

#[tokio::test]
async fn a_folder_is_read_once_it_is_released() {
    let (folder, letters) = folder(1).await;
    let service = Idem::open(folder.path()).unwrap();
    let child = waiting(folder.path()).await;
    service.close().await.unwrap();
    let output = within(child.wait_with_output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let listed = String::from_utf8(output.stdout).unwrap();
    assert!(listed.contains(&letters[0].to_string()), "{listed}");
}

#[tokio::test]
async fn a_signal_ends_the_wait() {
    let (folder, _) = folder(1).await;
    let service = Idem::open(folder.path()).unwrap();
    let mut child = waiting(folder.path()).await;
    let id = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(id, Signal::TERM).unwrap();
    let status = within(child.wait()).await.unwrap();
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
    service.close().await.unwrap();
    Idem::open(folder.path()).unwrap().close().await.unwrap();
}
