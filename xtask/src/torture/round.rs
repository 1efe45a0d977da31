//! One ledger: processes that are killed on it, one that settles the rest, one in which no body may
//! run, and the verdict.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use fastrand::Rng;

use super::event::{Answer, Command, Event, Line};
use super::journal::Journal;
use super::judge::{Judge, ProcessEnd};
use super::pipe::Pipe;
use super::plan::{self, Ledger};
use super::process::Process;
use super::running::{Purpose, Running, SILENCE};
use super::schedule::Schedule;
use super::server::Shared;

/// How long a process may take to answer the calls in flight before it is closed; bodies that hang
/// never return.
const DRAINING: Duration = Duration::from_secs(2);

/// How long and how hard a round is.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) ledger: Ledger,
    /// How many processes run at a time.
    pub(crate) processes: usize,
    /// How many calls are in flight, of all processes together.
    pub(crate) callers: usize,
    /// How many messages the ledger gets.
    pub(crate) messages: u64,
}

/// The state of one ledger's part of the run.
pub(crate) struct Round {
    plan: Plan,
    folder: PathBuf,
    seed: u64,
    random: Rng,
    schedule: Schedule,
    pipe: Pipe,
    server: Option<Shared>,
    running: BTreeMap<u32, Running>,
    /// The process whose operator is at work.
    operator: Option<u32>,
    /// After how many answers an operator works again.
    operate_at: u64,
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
    pub(crate) outages: u32,
}

impl Round {
    pub(crate) fn new(plan: Plan, folder: &Path, seed: u64) -> anyhow::Result<Self> {
        let server = match plan.ledger {
            Ledger::Sled => None,
            Ledger::Fjall => {
                // A new folder stays with the engine whose own folder is in it.
                fs::create_dir_all(folder.join("ledger/fjall"))?;
                None
            }
            Ledger::Postgres => Some(Shared::start(seed)?),
        };
        let callers = (plan.callers / plan.processes).max(1);
        Ok(Self {
            folder: folder.to_owned(),
            seed,
            random: Rng::with_seed(seed),
            schedule: Schedule::new(seed, plan.ledger, callers, plan.messages),
            pipe: Pipe::open()?,
            server,
            running: BTreeMap::new(),
            operator: None,
            operate_at: 0,
            judge: Judge::of(plan.ledger),
            journal: Journal::start(folder)?,
            tally: Tally::default(),
            plan,
        })
    }

    /// Runs all processes of the ledger and judges them; calls `tell` after each process.
    pub(crate) fn run(
        &mut self,
        until: Instant,
        mut tell: impl FnMut(&Tally),
    ) -> anyhow::Result<()> {
        self.run_all(Purpose::Torture(until), &mut tell)?;
        // Every process that is killed here, or aborts, uses up attempts, so this ends.
        self.schedule.deadly = false;
        loop {
            if !self.judge.faults.is_empty() {
                // For their histories.
                self.run_all(Purpose::Inspect, &mut tell)?;
                return Ok(());
            }
            // It closes when everything is settled.
            if self.run_all(Purpose::Settle, &mut tell)? == Some(ProcessEnd::Closed) {
                break;
            }
        }
        self.schedule.remind_of_all();
        if self.run_all(Purpose::Quiet, &mut tell)? == Some(ProcessEnd::Closed) {
            self.judge.judge();
        }
        Ok(())
    }

    /// Runs processes of one purpose, and returns how the last one ended: one, or, for the torture, so
    /// many at a time until the time is over.
    fn run_all(
        &mut self,
        purpose: Purpose,
        tell: &mut impl FnMut(&Tally),
    ) -> anyhow::Result<Option<ProcessEnd>> {
        let mut last = None;
        loop {
            while self.needs_another(purpose, last.is_some()) {
                self.start(purpose)?;
            }
            if self.running.is_empty() {
                return Ok(last);
            }
            if let Some(end) = self.step()? {
                last = Some(end);
                tell(&self.tally);
            }
        }
    }

    fn needs_another(&self, purpose: Purpose, is_over: bool) -> bool {
        match purpose {
            Purpose::Torture(until) => {
                self.running.len() < self.plan.processes
                    && Instant::now() < until
                    && !self.schedule.is_used_up()
                    && self.judge.faults.is_empty()
            }
            _ => self.running.is_empty() && !is_over,
        }
    }

    fn start(&mut self, purpose: Purpose) -> anyhow::Result<()> {
        self.tally.processes += 1;
        let number = self.tally.processes;
        let fate = matches!(purpose, Purpose::Torture(_))
            .then(|| plan::fate(self.seed, self.plan.ledger, number));
        let ledger = match &self.server {
            Some(server) => server.url(),
            None => self.folder.display().to_string(),
        };
        let process = Process::start(
            &self.plan.program,
            number,
            &ledger,
            &self.folder,
            &self.pipe,
        )?;
        if self.running.is_empty() {
            self.operate_at = self.judge.counts.answers + self.random.u64(50..300);
        }
        self.running
            .insert(number, Running::new(process, purpose, fate));
        Ok(())
    }

    /// Takes the next line of the pipe, or does what is due. Returns the end of a process.
    fn step(&mut self) -> anyhow::Result<Option<ProcessEnd>> {
        let mut ended = None;
        if let Some(line) = self.pipe.receive(self.next_tick())? {
            let Line { process, event } = serde_json::from_str(&line)
                .with_context(|| format!("cannot read the event {line}"))?;
            self.journal.note(process, '>', &line)?;
            if event == Event::Gone {
                ended = self.ended(process)?;
            } else {
                self.take(process, &event)?;
            }
        }
        self.tick()?;
        Ok(ended)
    }

    /// Takes the end of a process.
    fn ended(&mut self, number: u32) -> anyhow::Result<Option<ProcessEnd>> {
        let Some(running) = self.running.remove(&number) else {
            return Ok(None);
        };
        let (status, errors) = running.process.wait()?;
        let end = if running.closed && status.success() {
            self.tally.closes += 1;
            ProcessEnd::Closed
        } else if running.killed || running.killing {
            self.tally.kills += 1;
            ProcessEnd::Killed
        } else if running.aborting {
            self.tally.aborts += 1;
            ProcessEnd::Aborted
        } else {
            self.judge.trouble(format!(
                "process {number} ended by itself with {status}: {errors}"
            ));
            ProcessEnd::Aborted
        };
        self.operator = self.operator.filter(|operator| *operator != number);
        self.judge.process_ended(number, end);
        self.schedule.process_ended(number);
        self.tally.calls = self.schedule.calls();
        self.tally.messages = self.schedule.messages().count() as u64;
        self.tally.outages = self.server.as_ref().map_or(0, Shared::outages);
        Ok(Some(end))
    }

    fn take(&mut self, number: u32, event: &Event) -> anyhow::Result<()> {
        self.judge.take(number, event);
        if let (Event::ServerIsBack, Some(server)) = (event, &mut self.server) {
            return server.is_back();
        }
        let Some(mut running) = self.running.remove(&number) else {
            return Ok(());
        };
        running.heard = Instant::now();
        match event {
            Event::Opened => running.opened = Some(running.heard),
            Event::Closed => running.closed = true,
            Event::Aborting { .. } => running.aborting = true,
            Event::Killing => running.killing = true,
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
            } => self.schedule.redriven(number, *n, letter, *token),
            Event::Said if self.operator == Some(number) => self.operator = None,
            _ => {}
        }
        if let Event::Away { text }
        | Event::Told {
            answer: Answer::Away(text),
            ..
        } = event
            && !self.server.as_ref().is_some_and(Shared::is_excused)
            && !running.is_excused()
        {
            let text = format!("process {number} did not reach a server that was there: {text}");
            self.judge.trouble(text);
        }
        if !running.ending && running.opened.is_some() {
            self.proceed(number, &mut running)?;
        }
        self.running.insert(number, running);
        Ok(())
    }

    /// Sends the commands that are due now.
    fn proceed(&mut self, number: u32, running: &mut Running) -> anyhow::Result<()> {
        match running.purpose {
            Purpose::Torture(_) if running.draining.is_some() => {
                if self.schedule.nothing_is_out(number) {
                    running.ending = true;
                    self.send(number, running, &Command::Close)?;
                }
            }
            Purpose::Torture(_) => {
                self.deliver(number, running, true)?;
                if self.judge.counts.answers >= self.operate_at && self.operator.is_none() {
                    self.operator = Some(number);
                    self.operate_at = self.judge.counts.answers + self.random.u64(100..600);
                    let (seed, kills) = (self.random.u64(..), self.random.u32(..5) == 0);
                    self.send(number, running, &Command::Operate { seed, kills })?;
                }
            }
            Purpose::Settle => {
                self.deliver(number, running, false)?;
                if self.schedule.is_settled() {
                    running.ending = true;
                    self.send(number, running, &Command::Close)?;
                } else if self.schedule.only_hangs() {
                    running.kill()?;
                }
            }
            Purpose::Quiet => {
                self.deliver(number, running, false)?;
                if self.schedule.is_still() {
                    running.ending = true;
                    let messages: Vec<_> = self.schedule.messages().map(|(n, _)| n).collect();
                    self.request(number, running, &messages)?;
                }
            }
            Purpose::Inspect => {
                running.ending = true;
                let wrong = self.judge.faults.iter();
                let wrong: Vec<_> = wrong.filter_map(|fault| fault.n).collect();
                self.request(number, running, &wrong)?;
            }
        }
        Ok(())
    }

    /// Sends calls until all callers of a process are busy.
    fn deliver(&mut self, number: u32, running: &mut Running, new: bool) -> anyhow::Result<()> {
        // Not each turn finds a call, because hanging messages wait for the next process.
        for _ in 0..100 {
            if !self.schedule.has_room(number) {
                break;
            }
            for call in self.schedule.next(number, new) {
                if let Some(plan) = self.schedule.plan(call.n) {
                    self.judge.delivered(call.n, plan.handler, plan.contended);
                }
                self.send(number, running, &Command::Call(call))?;
            }
        }
        Ok(())
    }

    /// Asks for all letters and for the records of these messages, and closes the process.
    fn request(
        &mut self,
        number: u32,
        running: &mut Running,
        messages: &[u64],
    ) -> anyhow::Result<()> {
        self.send(number, running, &Command::Letters)?;
        for n in messages {
            if let Some(handler) = self.schedule.plan(*n).map(|plan| plan.handler) {
                self.send(number, running, &Command::Record { n: *n, handler })?;
            }
        }
        self.send(number, running, &Command::Close)
    }

    fn send(
        &mut self,
        number: u32,
        running: &mut Running,
        command: &Command,
    ) -> anyhow::Result<()> {
        self.journal
            .note(number, '<', &serde_json::to_string(command)?)?;
        running.process.send(command)
    }

    /// Returns when the next thing is due.
    fn next_tick(&self) -> Instant {
        let times = self.running.values().map(Running::next);
        let times = times.chain(self.next_outage());
        times.min().unwrap_or_else(Instant::now)
    }

    /// Returns when the server is to be ended, while processes are killed.
    fn next_outage(&self) -> Option<Instant> {
        let tortured = |running: &Running| matches!(running.purpose, Purpose::Torture(_));
        let next = self.server.as_ref().and_then(Shared::next);
        next.filter(|_| self.running.values().any(tortured))
    }

    /// Does what is due.
    fn tick(&mut self) -> anyhow::Result<()> {
        if self.next_outage().is_some_and(|at| Instant::now() >= at)
            && let Some(server) = &mut self.server
        {
            server.end(&self.pipe)?;
        }
        let numbers: Vec<_> = self.running.keys().copied().collect();
        for number in numbers {
            if let Some(mut running) = self.running.remove(&number) {
                self.tick_of(number, &mut running)?;
                self.running.insert(number, running);
            }
        }
        Ok(())
    }

    fn tick_of(&mut self, number: u32, running: &mut Running) -> anyhow::Result<()> {
        let now = Instant::now();
        if running.still.is_some_and(|until| now >= until) {
            (running.still, running.heard) = (None, now);
            running.process.resume()?;
        }
        if running.stop().is_some_and(|at| now >= at) {
            let pause = running
                .fate
                .and_then(|fate| fate.stopped)
                .map_or(Duration::ZERO, |(_, pause)| pause);
            (running.stopped, running.still) = (true, Some(now + pause));
            self.tally.stops += 1;
            running.process.stop()?;
        }
        if running.end().is_some_and(|at| now >= at) {
            let gently = running.fate.is_some_and(|fate| fate.gently);
            if gently && running.opened.is_some() && running.draining.is_none() {
                running.draining = Some(now + DRAINING);
                self.proceed(number, running)?;
            } else {
                running.kill()?;
            }
        }
        if now >= running.silent() {
            let unanswered = self.schedule.unanswered(number);
            self.judge.trouble(format!(
                "process {number} was silent for {SILENCE:?}; calls of {unanswered:?} are not answered"
            ));
            running.kill()?;
        }
        Ok(())
    }
}
