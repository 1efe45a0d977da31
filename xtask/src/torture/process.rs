//! A process that is killed: started, sent commands, stopped, killed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command as Program, ExitStatus, Stdio};
use std::thread;

use anyhow::Context;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::event::{Command, Event};
use super::pipe::{self, Pipe};

/// How many bytes of its stderr are shown.
const SHOWN: usize = 2_000;

/// A running process.
pub(crate) struct Process {
    child: Child,
    commands: ChildStdin,
    errors: PathBuf,
}

impl Process {
    /// Starts the process of this number on a ledger; its stderr goes into the folder.
    pub(crate) fn start(
        program: &Path,
        number: u32,
        ledger: &str,
        folder: &Path,
        pipe: &Pipe,
    ) -> anyhow::Result<Self> {
        let errors = folder.join(format!("stderr-{number}"));
        let stderr = File::create(&errors).context("cannot write into the data folder")?;
        let mut child = Program::new(program)
            .arg(number.to_string())
            .arg(ledger)
            .stdin(Stdio::piped())
            .stdout(pipe.writer()?)
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let commands = child.stdin.take().context("it has no stdin")?;
        let (pid, mut last) = (Pid::from_child(&child), pipe.writer()?);
        thread::spawn(move || {
            // It stays unreaped, so that its id is its own; an error means that it has ended.
            let _ = waitid(
                WaitId::Pid(pid),
                WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
            );
            // Without a reader the run is over.
            let _ = pipe::write(&mut last, number, Event::Gone);
        });
        Ok(Self {
            child,
            commands,
            errors,
        })
    }

    /// Sends a command, if the process is still there.
    pub(crate) fn send(&mut self, command: &Command) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        // The pipe tells that the process has ended.
        let _ = self.commands.write_all(&line);
        Ok(())
    }

    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)
    }

    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        // Only `wait` reaps it, so the process id is still its own.
        kill_process(Pid::from_child(&self.child), signal).context("cannot signal the process")
    }

    /// Reaps it, and returns the status and the end of stderr.
    pub(crate) fn wait(mut self) -> anyhow::Result<(ExitStatus, String)> {
        let status = self.child.wait().context("cannot wait for the process")?;
        let errors = fs::read(&self.errors).unwrap_or_default();
        if errors.is_empty() {
            // There may be thousands.
            let _ = fs::remove_file(&self.errors);
        }
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
