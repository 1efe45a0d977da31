//! The process that is killed: started, sent commands, stopped, killed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command as Program, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use super::event::Command;

/// How many bytes of its stderr are shown.
const SHOWN: usize = 2_000;

/// A running process.
pub(crate) struct Process {
    child: Child,
    commands: ChildStdin,
    lines: Receiver<String>,
    errors: PathBuf,
}

/// What was received from it.
pub(crate) enum Received {
    Line(String),
    Nothing,
    /// It has ended, and all its lines were received.
    Ended,
}

impl Process {
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
        // A thread of its own, so that the process never waits for its reader.
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

    /// Sends a command, if the process is still there.
    pub(crate) fn send(&mut self, command: &Command) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        // `receive` returns that the process has ended.
        let _ = self.commands.write_all(&line);
        Ok(())
    }

    /// Waits for the next line, at most until then.
    pub(crate) fn receive(&self, until: Instant) -> Received {
        match self
            .lines
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            Ok(line) => Received::Line(line),
            Err(RecvTimeoutError::Timeout) => Received::Nothing,
            Err(RecvTimeoutError::Disconnected) => Received::Ended,
        }
    }

    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)
    }

    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    pub(crate) fn resume(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        // Checked first, so that the process id is still its own.
        if self
            .child
            .try_wait()
            .context("cannot check the process")?
            .is_none()
        {
            kill_process(Pid::from_child(&self.child), signal)
                .context("cannot signal the process")?;
        }
        Ok(())
    }

    /// Waits for the end, and returns the status and the end of stderr.
    pub(crate) fn wait(mut self) -> anyhow::Result<(ExitStatus, String)> {
        let status = self.child.wait().context("cannot wait for the process")?;
        let errors = fs::read(&self.errors).unwrap_or_default();
        let tail = errors.len().saturating_sub(SHOWN);
        Ok((
            status,
            String::from_utf8_lossy(&errors[tail..]).into_owned(),
        ))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After an error no process is left behind. If this fails, it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
