//! A child process that ends with this process, however that ends.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::Context;
use tempfile::TempDir;

/// A shell stands between: it reads a pipe that only this process holds, and when the pipe ends,
/// the server's whole session dies. A line in the pipe says that the folder is still wanted.
const SCRIPT: &str = r#"
setsid "$@" </dev/null &
server=$!
read -r kill && keep=yes
kill -9 "-$server" 2>/dev/null || kill -9 "$server" 2>/dev/null
wait "$server" 2>/dev/null
[ "$keep" ] || rm -rf "$FOLDER"
"#;

/// The command line of a server, which can be started again.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
    pub(super) variables: Vec<(&'static str, String)>,
}

/// A running server's keeper.
#[derive(Debug)]
pub(super) struct Keeper {
    shell: Child,
    /// Dropped last, because the others use it.
    _folder: Arc<TempDir>,
}

impl Keeper {
    pub(super) fn start(line: &Line, folder: Arc<TempDir>) -> anyhow::Result<Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.path().join("said.log"))?;
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "sh", &line.program])
            .args(&line.arguments);
        command
            .envs(line.variables.iter().map(|(name, value)| (*name, value)))
            .env("FOLDER", folder.path());
        command
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log);
        // A Ctrl-C at the terminal is for the tests; their end is what ends this.
        command.process_group(0);
        let shell = command
            .spawn()
            .with_context(|| format!("cannot start {}", line.program))?;
        Ok(Self {
            shell,
            _folder: folder,
        })
    }

    /// Kills the server, and returns when it is gone.
    pub(super) fn kill(mut self) -> anyhow::Result<()> {
        let mut pipe = self
            .shell
            .stdin
            .take()
            .context("its pipe is held until here")?;
        pipe.write_all(b"kill\n")?;
        self.shell.wait()?;
        Ok(())
    }
}

/// Returns the last lines that the servers in a folder printed.
pub(super) fn said(folder: &Path) -> String {
    let said = std::fs::read_to_string(folder.join("said.log")).unwrap_or_default();
    let lines: Vec<_> = said.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
