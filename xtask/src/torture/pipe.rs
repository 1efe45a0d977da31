//! The pipe that all processes write their events to.

use std::io::{self, BufRead, BufReader, PipeWriter, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, bail};

use super::event::{Event, Line};

/// The pipe's two ends.
pub(crate) struct Pipe {
    writer: PipeWriter,
    lines: Receiver<String>,
}

impl Pipe {
    pub(crate) fn open() -> anyhow::Result<Self> {
        let (reader, writer) = io::pipe().context("no pipe can be made")?;
        let (give, lines) = mpsc::channel();
        // A thread of its own, so that no process waits for its reader.
        thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if give.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { writer, lines })
    }

    /// Returns one more end to write to.
    pub(crate) fn writer(&self) -> anyhow::Result<PipeWriter> {
        self.writer.try_clone().context("the pipe cannot be shared")
    }

    /// Waits for the next line, at most until then.
    pub(crate) fn receive(&self, until: Instant) -> anyhow::Result<Option<String>> {
        let pause = until.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(pause) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("the pipe cannot be read"),
        }
    }
}

/// Writes what the torturer itself saw, before or after what followed from it.
pub(crate) fn write(to: &mut PipeWriter, process: u32, event: Event) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(&Line { process, event })?;
    line.push(b'\n');
    to.write_all(&line).context("the pipe cannot be written")
}
