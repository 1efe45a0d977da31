//! One life of the process: started, spoken to, listened to, stopped, killed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command as Program, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use super::wire::Command;

/// How much of what it wrote to stderr is shown.
const SHOWN: usize = 2_000;

/// A running process.
pub(crate) struct Life {
    child: Child,
    commands: ChildStdin,
    lines: Receiver<String>,
    errors: PathBuf,
}

/// What is heard of it.
pub(crate) enum Heard {
    Line(String),
    Nothing,
    /// It is gone, and all it said was heard.
    Over,
}

impl Life {
    pub(crate) fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        let errors = folder.join("stderr");
        let stderr = File::create(&errors).context("cannot write into the data folder")?;
        let mut child = Program::new(program)
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let commands = child.stdin.take().context("it has no stdin")?;
        let output = child.stdout.take().context("it has no stdout")?;
        let (give, lines) = mpsc::channel();
        // A reader of its own: the process never waits for somebody who waits for it.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if give.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            commands,
            lines,
            errors,
        })
    }

    /// Says it, if anybody is there to hear it.
    pub(crate) fn say(&mut self, command: &Command) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        // A process that is gone is heard of where it is listened to.
        let _ = self.commands.write_all(&line);
        Ok(())
    }

    /// The next line, or nothing by then.
    pub(crate) fn hear(&self, until: Instant) -> Heard {
        match self
            .lines
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            Ok(line) => Heard::Line(line),
            Err(RecvTimeoutError::Timeout) => Heard::Nothing,
            Err(RecvTimeoutError::Disconnected) => Heard::Over,
        }
    }

    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)
    }

    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    pub(crate) fn go_on(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        // Asked first, so that the number is still its own.
        if self
            .child
            .try_wait()
            .context("cannot ask for the process")?
            .is_none()
        {
            kill_process(Pid::from_child(&self.child), signal)
                .context("cannot signal the process")?;
        }
        Ok(())
    }

    /// How it ended, and what it wrote to stderr.
    pub(crate) fn buried(mut self) -> anyhow::Result<(ExitStatus, String)> {
        let status = self.child.wait().context("cannot wait for the process")?;
        let errors = fs::read(&self.errors).unwrap_or_default();
        let tail = errors.len().saturating_sub(SHOWN);
        Ok((
            status,
            String::from_utf8_lossy(&errors[tail..]).into_owned(),
        ))
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // Nobody outlives a torturer that gave up. What fails here has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
