//! A child process that ends with this process, however that ends.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::Context;
use tempfile::TempDir;

/// A shell stands between: it reads a pipe that only this process holds, and does to the server what
/// it reads. When the pipe ends, the server's whole session dies, and its folder with it. The
/// server's own children count too, because PostgreSQL's have sessions of their own.
const SCRIPT: &str = r#"
setsid "$@" </dev/null >>"$FOLDER/said.log" 2>&1 &
server=$!
tell() {
    children=$(cat "/proc/$server/task/$server/children" 2>/dev/null)
    kill "-$1" "-$server" $children 2>/dev/null || kill "-$1" "$server" $children 2>/dev/null
}
is_gone() {
    state=$(cat "/proc/$1/stat" 2>/dev/null)
    case $state in '' | *') Z '*) return 0 ;; esac
    return 1
}
keep=
while read -r signal; do
    case $signal in
    STOP | CONT) tell "$signal"; echo ;;
    *) keep=yes; break ;;
    esac
done
case $signal in
INT | QUIT) kill "-$signal" "$server" ;;
*)
    # A stopped server has no more children.
    kill -STOP "$server" 2>/dev/null
    tell KILL
    ;;
esac
wait "$server" 2>/dev/null
for child in $children; do
    until is_gone "$child"; do sleep 0.01; done
done
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
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "sh", &line.program])
            .args(&line.arguments);
        command
            .envs(line.variables.iter().map(|(name, value)| (*name, value)))
            .env("FOLDER", folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
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

    /// Ends the server, and returns when it is gone.
    pub(super) fn end(mut self, signal: &str) -> anyhow::Result<()> {
        self.say(signal)?;
        self.shell.wait()?;
        Ok(())
    }

    /// Sends a signal to the server and its children, and returns when they have it.
    pub(super) fn signal(&mut self, signal: &str) -> anyhow::Result<()> {
        self.say(signal)?;
        let answers = self.shell.stdout.as_mut().context("it is a pipe")?;
        answers.read_exact(&mut [0])?;
        Ok(())
    }

    fn say(&mut self, signal: &str) -> anyhow::Result<()> {
        let pipe = self.shell.stdin.as_mut().context("it is a pipe")?;
        Ok(writeln!(pipe, "{signal}")?)
    }
}

/// Returns the last lines that the servers in a folder printed.
pub(super) fn said(folder: &Path) -> String {
    let said = std::fs::read_to_string(folder.join("said.log")).unwrap_or_default();
    let lines: Vec<_> = said.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
