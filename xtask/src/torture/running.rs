//! A running process: what it was started for, and what has become of it.

use std::time::{Duration, Instant};

use super::plan::Fate;
use super::process::Process;

/// After such a silence a call will never be answered.
pub(super) const SILENCE: Duration = Duration::from_secs(120);

/// For how long after it was stopped a process may find its connections dead, or its requests late.
const EXCUSED: Duration = Duration::from_secs(12);

/// What a process is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To take new messages, duplicates and an operator until its fate, or until then.
    Torture(Instant),
    /// To settle all messages.
    Settle,
    /// To answer every message once more.
    Quiet,
    /// To show the letters and records of messages with a fault.
    Inspect,
}

pub(super) struct Running {
    pub(super) process: Process,
    pub(super) purpose: Purpose,
    pub(super) fate: Option<Fate>,
    pub(super) started: Instant,
    pub(super) opened: Option<Instant>,
    pub(super) heard: Instant,
    /// Stopped until then.
    pub(super) still: Option<Instant>,
    pub(super) stopped: bool,
    /// It gets no more calls. It is closed when all are answered, or killed then.
    pub(super) draining: Option<Instant>,
    /// Whether it got a signal or a command that ends it.
    pub(super) ending: bool,
    pub(super) killed: bool,
    /// Whether it kills itself.
    pub(super) killing: bool,
    pub(super) aborting: bool,
    pub(super) closed: bool,
}

impl Running {
    pub(super) fn new(process: Process, purpose: Purpose, fate: Option<Fate>) -> Self {
        let now = Instant::now();
        Self {
            process,
            purpose,
            fate,
            started: now,
            opened: None,
            heard: now,
            still: None,
            stopped: false,
            draining: None,
            ending: false,
            killed: false,
            killing: false,
            aborting: false,
            closed: false,
        }
    }

    /// Returns when something is due.
    pub(super) fn next(&self) -> Instant {
        let times = [self.end(), self.stop(), self.still, Some(self.silent())];
        times.into_iter().flatten().min().unwrap_or(self.heard)
    }

    /// Returns when its time is over.
    pub(super) fn end(&self) -> Option<Instant> {
        let Purpose::Torture(until) = self.purpose else {
            return None;
        };
        if self.ending {
            return None;
        }
        let fate = self.fate?;
        let from = if fate.from_opening {
            self.opened
        } else {
            Some(self.started)
        };
        Some(
            self.draining
                .or(from.map(|from| from + fate.after))
                .map_or(until, |end| end.min(until)),
        )
    }

    /// Returns when it is to be stopped.
    pub(super) fn stop(&self) -> Option<Instant> {
        let (after, _) = self
            .fate?
            .stopped
            .filter(|_| !self.stopped && !self.ending)?;
        self.opened.map(|opened| opened + after)
    }

    /// Returns when it has been silent for too long.
    pub(super) fn silent(&self) -> Instant {
        self.heard.max(self.still.unwrap_or(self.heard)) + SILENCE
    }

    /// Returns whether a standstill excuses that it did not reach the server.
    pub(super) fn is_excused(&self) -> bool {
        let pause = self.fate.and_then(|fate| fate.stopped);
        let since = self.stop_began().zip(pause);
        since.is_some_and(|(began, (_, pause))| began.elapsed() < pause + EXCUSED)
    }

    fn stop_began(&self) -> Option<Instant> {
        let (after, _) = self.fate?.stopped.filter(|_| self.stopped)?;
        self.opened.map(|opened| opened + after)
    }

    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        // The silence of a killed process counts from here.
        (self.ending, self.killed, self.heard) = (true, true, Instant::now());
        self.process.kill()
    }
}
