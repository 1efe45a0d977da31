//! One folder: processes that are killed in it, one that settles the rest, one in which no body may
//! run, and the verdict.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use fastrand::Rng;

use super::event::{Command, Event};
use super::journal::Journal;
use super::judge::{Judge, ProcessEnd};
use super::plan::{self, Fate};
use super::process::{Process, Received};
use super::schedule::Schedule;

/// After such a silence a call will never be answered.
const SILENCE: Duration = Duration::from_secs(120);

/// How long a process may take to answer the calls in flight before it is closed; bodies that hang
/// never return.
const DRAINING: Duration = Duration::from_secs(2);

/// What a process is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To take new messages, duplicates and an operator until its fate, or until then.
    Torture(Instant),
    /// To settle all messages.
    Settle,
    /// To answer every message once more.
    Quiet,
    /// To show the letters and records of messages with a fault.
    Inspect,
}

/// The state of one folder's part of the run.
pub(crate) struct Round {
    program: PathBuf,
    folder: PathBuf,
    seed: u64,
    random: Rng,
    schedule: Schedule,
    pub(crate) judge: Judge,
    pub(crate) journal: Journal,
    pub(crate) tally: Tally,
}

/// The counts that only the parent process knows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    pub(crate) calls: u64,
    pub(crate) processes: u32,
    pub(crate) kills: u32,
    pub(crate) aborts: u32,
    pub(crate) closes: u32,
    pub(crate) stops: u32,
}

/// The state of a running process.
struct Progress {
    purpose: Purpose,
    fate: Option<Fate>,
    started: Instant,
    opened: Option<Instant>,
    heard: Instant,
    /// Stopped until then.
    still: Option<Instant>,
    stopped: bool,
    /// It gets no more calls. It is closed when all are answered, or killed then.
    draining: Option<Instant>,
    /// Whether it got a signal or a command that ends it.
    ending: bool,
    killed: bool,
    /// Whether it kills itself.
    killing: bool,
    aborting: bool,
    closed: bool,
    operate_at: u64,
}

impl Round {
    pub(crate) fn new(
        program: &Path,
        folder: &Path,
        seed: u64,
        callers: usize,
        messages: u64,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            seed,
            random: Rng::with_seed(seed),
            schedule: Schedule::new(seed, callers, messages),
            judge: Judge::default(),
            journal: Journal::start(folder)?,
            tally: Tally::default(),
        })
    }

    /// Runs all processes of the folder and judges them; calls `tell` after each process.
    pub(crate) fn run(
        &mut self,
        until: Instant,
        mut tell: impl FnMut(&Tally),
    ) -> anyhow::Result<()> {
        while Instant::now() < until && !self.schedule.is_used_up() && self.judge.faults.is_empty()
        {
            self.run_process(Purpose::Torture(until))?;
            tell(&self.tally);
        }
        // Every process that is killed here, or aborts, uses up attempts, so this ends.
        self.schedule.deadly = false;
        loop {
            if !self.judge.faults.is_empty() {
                return self.inspect();
            }
            // It closes when everything is settled.
            if self.run_process(Purpose::Settle)? == ProcessEnd::Closed {
                break;
            }
        }
        tell(&self.tally);
        self.schedule.remind_of_all();
        if self.run_process(Purpose::Quiet)? == ProcessEnd::Closed {
            self.judge.judge();
        }
        Ok(())
    }

    /// Adds the letters and records of messages with a fault to their histories.
    fn inspect(&mut self) -> anyhow::Result<()> {
        self.run_process(Purpose::Inspect)?;
        Ok(())
    }

    /// Runs one process to its end.
    fn run_process(&mut self, purpose: Purpose) -> anyhow::Result<ProcessEnd> {
        self.tally.processes += 1;
        let number = self.tally.processes;
        let fate = matches!(purpose, Purpose::Torture(_)).then(|| plan::fate(self.seed, number));
        let mut process = Process::start(&self.program, &self.folder)?;
        let now = Instant::now();
        let mut progress = Progress {
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
            operate_at: self.judge.counts.answers + self.random.u64(50..300),
        };
        loop {
            match process.receive(self.next_tick(&progress)) {
                Received::Line(line) => {
                    progress.heard = Instant::now();
                    self.journal.note(number, '>', &line)?;
                    let event = serde_json::from_str(&line)
                        .with_context(|| format!("cannot read the event {line}"))?;
                    self.take(&event, &mut progress);
                    if !progress.ending && progress.opened.is_some() {
                        self.proceed(&mut process, &mut progress)?;
                    }
                }
                Received::Nothing => {}
                Received::Ended => break,
            }
            self.tick(&mut process, &mut progress)?;
        }
        let (status, errors) = process.wait()?;
        let end = if progress.closed && status.success() {
            self.tally.closes += 1;
            ProcessEnd::Closed
        } else if progress.killed || progress.killing {
            self.tally.kills += 1;
            ProcessEnd::Killed
        } else if progress.aborting {
            self.tally.aborts += 1;
            ProcessEnd::Aborted
        } else {
            self.judge.trouble(format!(
                "process {number} ended by itself with {status}: {errors}"
            ));
            ProcessEnd::Aborted
        };
        self.judge.process_ended(end);
        self.schedule.process_ended();
        self.tally.calls = self.schedule.calls();
        self.tally.messages = self.schedule.messages().count() as u64;
        Ok(end)
    }

    fn take(&mut self, event: &Event, progress: &mut Progress) {
        match event {
            Event::Opened => progress.opened = Some(Instant::now()),
            Event::Closed => progress.closed = true,
            Event::Aborting { .. } => progress.aborting = true,
            Event::Killing => progress.killing = true,
            Event::Hanging { n } => self.schedule.hangs(*n),
            Event::Told {
                call,
                variant,
                answer,
                ..
            } => self.schedule.told(*call, *variant, answer),
            Event::Closing {
                n,
                letter,
                token,
                redrive: true,
            } => self.schedule.redriven(*n, letter, *token),
            _ => {}
        }
        self.judge.take(event);
    }

    /// Sends the commands that are due now.
    fn proceed(&mut self, process: &mut Process, progress: &mut Progress) -> anyhow::Result<()> {
        match progress.purpose {
            Purpose::Torture(_) if progress.draining.is_some() => {
                if self.schedule.nothing_is_out() {
                    progress.ending = true;
                    self.send(process, &Command::Close)?;
                }
            }
            Purpose::Torture(_) => {
                self.deliver(process, true)?;
                if self.judge.counts.answers >= progress.operate_at {
                    progress.operate_at = self.judge.counts.answers + self.random.u64(100..600);
                    let (seed, kills) = (self.random.u64(..), self.random.u32(..5) == 0);
                    self.send(process, &Command::Operate { seed, kills })?;
                }
            }
            Purpose::Settle => {
                self.deliver(process, false)?;
                if self.schedule.is_settled() {
                    progress.ending = true;
                    self.send(process, &Command::Close)?;
                } else if self.schedule.only_hangs() {
                    progress.kill(process)?;
                }
            }
            Purpose::Quiet => {
                self.deliver(process, false)?;
                if self.schedule.is_still() {
                    progress.ending = true;
                    let messages: Vec<_> = self.schedule.messages().map(|(n, _)| n).collect();
                    self.request(process, &messages)?;
                }
            }
            Purpose::Inspect => {
                progress.ending = true;
                let wrong: Vec<_> = self
                    .judge
                    .faults
                    .iter()
                    .filter_map(|fault| fault.n)
                    .collect();
                self.request(process, &wrong)?;
            }
        }
        Ok(())
    }

    /// Sends calls until all callers are busy.
    fn deliver(&mut self, process: &mut Process, new: bool) -> anyhow::Result<()> {
        // Not each turn finds a call, because hanging messages wait for the next process.
        for _ in 0..100 {
            if !self.schedule.has_room() {
                break;
            }
            for call in self.schedule.next(new) {
                if let Some(plan) = self.schedule.plan(call.n) {
                    self.judge.delivered(call.n, plan.handler, plan.contended);
                }
                self.send(process, &Command::Call(call))?;
            }
        }
        Ok(())
    }

    /// Asks for all letters and for the records of these messages, and closes the process.
    fn request(&mut self, process: &mut Process, messages: &[u64]) -> anyhow::Result<()> {
        self.send(process, &Command::Letters)?;
        for n in messages {
            if let Some(handler) = self.schedule.plan(*n).map(|plan| plan.handler) {
                self.send(process, &Command::Record { n: *n, handler })?;
            }
        }
        self.send(process, &Command::Close)
    }

    fn send(&mut self, process: &mut Process, command: &Command) -> anyhow::Result<()> {
        self.journal
            .note(self.tally.processes, '<', &serde_json::to_string(command)?)?;
        process.send(command)
    }

    /// Returns when the next thing is due.
    fn next_tick(&self, progress: &Progress) -> Instant {
        let times = [
            progress.end(),
            progress.stop(),
            progress.still,
            Some(progress.silent()),
        ];
        times.into_iter().flatten().min().unwrap_or(progress.heard)
    }

    /// Does what is due.
    fn tick(&mut self, process: &mut Process, progress: &mut Progress) -> anyhow::Result<()> {
        let now = Instant::now();
        if progress.still.is_some_and(|until| now >= until) {
            (progress.still, progress.heard) = (None, now);
            process.resume()?;
        }
        if progress.stop().is_some_and(|at| now >= at) {
            let pause = progress
                .fate
                .and_then(|fate| fate.stopped)
                .map_or(Duration::ZERO, |(_, pause)| pause);
            (progress.stopped, progress.still) = (true, Some(now + pause));
            self.tally.stops += 1;
            process.stop()?;
        }
        if progress.end().is_some_and(|at| now >= at) {
            let gently = progress.fate.is_some_and(|fate| fate.gently);
            if gently && progress.opened.is_some() && progress.draining.is_none() {
                progress.draining = Some(now + DRAINING);
                self.proceed(process, progress)?;
            } else {
                progress.kill(process)?;
            }
        }
        if now >= progress.silent() {
            let unanswered = self.schedule.unanswered();
            self.judge.trouble(format!(
                "the process was silent for {SILENCE:?}; calls of {unanswered:?} are not answered"
            ));
            progress.kill(process)?;
        }
        Ok(())
    }
}

impl Progress {
    /// Returns when its time is over.
    fn end(&self) -> Option<Instant> {
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
    fn stop(&self) -> Option<Instant> {
        let (after, _) = self
            .fate?
            .stopped
            .filter(|_| !self.stopped && !self.ending)?;
        self.opened.map(|opened| opened + after)
    }

    /// Returns when it has been silent for too long.
    fn silent(&self) -> Instant {
        self.heard.max(self.still.unwrap_or(self.heard)) + SILENCE
    }

    fn kill(&mut self, process: &mut Process) -> anyhow::Result<()> {
        // The silence of a killed process counts from here.
        (self.ending, self.killed, self.heard) = (true, true, Instant::now());
        process.kill()
    }
}
