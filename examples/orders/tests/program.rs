//! The example as a process of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use anyhow::{Context, bail, ensure};
use idem_test_support::within;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

/// The dead letter of an order of 0 pieces.
pub(crate) const NOTHING_ORDERED: &str = "A-1042";
/// All dead letters.
pub(crate) const DEAD: [&str; 8] = [
    "A-1113",
    "A-1090",
    "A-1068",
    "A-1049",
    "A-1027",
    "A-1010",
    "A-1077",
    NOTHING_ORDERED,
];

/// The running example.
pub(crate) struct Served {
    child: Child,
    errors: Lines<BufReader<ChildStderr>>,
    /// The URL of its dashboard, with a slash at the end.
    pub(crate) url: String,
    pub(crate) token: String,
}

/// Runs a test on a runtime.
pub(crate) fn block_on<T>(test: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(test)
}

/// Returns a command that runs the example on the data folder with more arguments.
pub(crate) fn orders<I: AsRef<OsStr>>(
    data: &Path,
    arguments: impl IntoIterator<Item = I>,
) -> anyhow::Result<Command> {
    let mut command = example()?;
    command.arg("--data").arg(data).args(arguments);
    Ok(command)
}

/// Returns a command that runs the example without arguments.
pub(crate) fn example() -> anyhow::Result<Command> {
    let mut command = Command::new(built()?);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
        .env_remove("IDEM_TOKEN")
        .env_remove("LEDGER_URL")
        .env_remove("SMTP_PASSWORD")
        .env_remove("RUST_LOG");
    Ok(command)
}

/// Builds the example, once.
pub(crate) fn built() -> anyhow::Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let build = || idem_test_support::example("orders");
    BUILT
        .get_or_init(|| build().map_err(|error| error.to_string()))
        .as_deref()
        .map_err(|error| anyhow::anyhow!("cannot build the example: {error}"))
}

impl Served {
    /// Starts the example and waits until it prints its URL.
    pub(crate) async fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.args(["--serve", "127.0.0.1:0"]).spawn()?;
        let mut errors = BufReader::new(child.stderr.take().context("no standard error")?).lines();
        let line = within(errors.next_line()).await?.context("it ended")?;
        let said = line
            .strip_prefix("orders: the dashboard is at ")
            .and_then(|rest| rest.split_once(", its token is "));
        let (url, rest) = said.with_context(|| line.clone())?;
        let token = rest.split(';').next().unwrap_or_default().to_owned();
        Ok(Self {
            url: url.to_owned(),
            token,
            child,
            errors,
        })
    }

    /// Ends the example and returns its summary.
    pub(crate) async fn end(mut self) -> anyhow::Result<Value> {
        let id = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
            .context("it has ended")?;
        kill_process(id, Signal::TERM)?;
        let mut summary = Vec::new();
        within(
            self.child
                .stdout
                .take()
                .context("no standard output")?
                .read_to_end(&mut summary),
        )
        .await?;
        let status = within(self.child.wait()).await?;
        if !status.success() {
            let mut said = String::new();
            while let Some(line) = within(self.errors.next_line()).await? {
                said += &line;
            }
            bail!("it ended with {status}: {said}");
        }
        Ok(serde_json::from_slice(&summary)?)
    }
}

/// Returns the orders in the book with this number.
pub(crate) fn placed(data: &Path, order_no: &str) -> anyhow::Result<Vec<Value>> {
    let book = std::fs::read_to_string(data.join("orders.jsonl"))?;
    ensure!(book.ends_with('\n'), "the book's last line is incomplete");
    let orders: Vec<Value> = book
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    Ok(orders
        .into_iter()
        .filter(|order| order["order_no"] == order_no)
        .collect())
}
