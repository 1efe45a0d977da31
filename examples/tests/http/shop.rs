//! An example as a process of its own, that can be killed.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use idem_test_support::{example, within};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// An example that is built, and its arguments.
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

/// A running process, which is killed when this is dropped.
pub(crate) struct Shop {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Program {
    /// Builds the example of this name.
    pub(crate) fn build<const N: usize>(
        name: &str,
        arguments: [OsString; N],
    ) -> anyhow::Result<Self> {
        let arguments = arguments.into_iter().collect();
        Ok(Self {
            path: example(name)?,
            arguments,
        })
    }

    /// Starts a process, which may not listen yet.
    pub(crate) fn spawn(&self) -> anyhow::Result<Shop> {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        command.args(["--listen", "127.0.0.1:0"]);
        let command = command.stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let said = BufReader::new(child.stdout.take().context("it is a pipe")?);
        Ok(Shop { child, said })
    }
}

impl Shop {
    /// Returns where it listens, once it does.
    pub(crate) async fn listens(&mut self) -> anyhow::Result<SocketAddr> {
        let mut line = String::new();
        within(self.said.read_line(&mut line)).await?;
        let at = line.trim().strip_prefix("listening on ");
        Ok(at.context("the service does not listen")?.parse()?)
    }

    /// Kills it with SIGKILL.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}
