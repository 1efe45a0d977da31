//! Folders with dead letters, and the real command.

use std::path::Path;
use std::process::Stdio;

use idem_ops::Secret;
use idem_runtime::{DeadLetterId, Error, Filter, Idem, idempotent};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use idem_test_support::within;

pub(crate) const TOKEN: &str = "a token of the tests, long enough";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PlaceOrder {
    pub(crate) order_no: String,
    pub(crate) qty: u32,
    pub(crate) note: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderError {
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Idem(#[from] Error),
}

/// Fails with the order's note, unless the quantity is small.
#[idempotent(
    name = "orders.place",
    key = "order_no",
    retries = 1,
    backoff(initial = "1ms", factor = 1, max = "1ms")
)]
pub(crate) async fn place_order(order: PlaceOrder) -> Result<u32, OrderError> {
    if order.qty > 10 {
        Err(OrderError::Refused(order.note))
    } else {
        Ok(order.qty * 100)
    }
}

pub(crate) fn order(order_no: &str, note: &str) -> PlaceOrder {
    PlaceOrder {
        order_no: order_no.to_owned(),
        qty: 12,
        note: note.to_owned(),
    }
}

/// Places orders that fail, and gives back the letters' ids in the order of the orders.
pub(crate) async fn bury(
    idem: &Idem,
    orders: impl IntoIterator<Item = PlaceOrder>,
) -> Vec<DeadLetterId> {
    let mut ids = Vec::new();
    for order in orders {
        let key = order.order_no.clone();
        assert!(idem.scope(place_order(order)).await.is_err());
        ids.push(
            idem.dead_letters()
                .list(&Filter::default().key(key))
                .await
                .unwrap()[0]
                .id,
        );
    }
    ids
}

/// A closed folder with letters of orders A-1 to A-n, of two kinds of error.
pub(crate) async fn folder(letters: usize) -> (tempfile::TempDir, Vec<DeadLetterId>) {
    let folder = tempfile::tempdir().unwrap();
    let idem = Idem::open(folder.path()).unwrap();
    let orders = (1..=letters).map(|n| {
        order(
            &format!("A-{n}"),
            if n % 2 == 1 {
                "out of stock"
            } else {
                "no such sku"
            },
        )
    });
    let ids = bury(&idem, orders).await;
    idem.close().await.unwrap();
    (folder, ids)
}

/// What the command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Ended with this code.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Ended well.
    #[track_caller]
    pub(crate) fn well(self) -> Self {
        assert_eq!(self.err, "", "{self:?}");
        self.ended(0)
    }
}

/// The command, with nothing of this machine's environment but the path.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_idem"));
    command
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("USER", "ann");
    command
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The command by a line of bash's, which has its path as `$0`.
pub(crate) fn shell(line: &str) -> Command {
    let mut shell = Command::new("bash");
    shell
        .args(["-c", line, env!("CARGO_BIN_EXE_idem")])
        .kill_on_drop(true);
    shell
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    shell
}

pub(crate) async fn ended(command: &mut Command) -> Said {
    let output = within(command.output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// The command with these words, one after the other.
pub(crate) async fn idem(words: &[&str]) -> Said {
    ended(command().args(words)).await
}

/// Where the command looks: all places answer alike.
#[derive(Debug, Clone)]
pub(crate) enum At {
    Folder(std::path::PathBuf),
    Shared(String),
    Service(String),
}

impl At {
    pub(crate) fn folder(path: &Path) -> Self {
        Self::Folder(path.to_owned())
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = command();
        match self {
            Self::Folder(path) => command.arg("--data").arg(path),
            Self::Shared(url) => command.arg("--ledger").arg(url),
            Self::Service(url) => command.arg("--url").arg(url).env("IDEM_TOKEN", TOKEN),
        };
        command.args(words);
        command
    }

    pub(crate) async fn idem(&self, words: &[&str]) -> Said {
        ended(&mut self.command(words)).await
    }

    pub(crate) async fn json(&self, words: &[&str]) -> Value {
        ended(self.command(words).arg("--json")).await.well().json()
    }

    /// With this on the standard input.
    pub(crate) async fn told(&self, words: &[&str], input: &str) -> Said {
        let mut child = self.command(words).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that refuses its arguments does not read.
        if let Err(error) = stdin.write_all(input.as_bytes()).await {
            assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        }
        drop(stdin);
        let output = within(child.wait_with_output()).await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

pub(crate) fn token() -> Secret {
    Secret::new(TOKEN)
}
