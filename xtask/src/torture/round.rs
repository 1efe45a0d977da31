//! One folder: processes that are killed in it, one that settles what is left, one in which nothing
//! may run, and the verdict.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use fastrand::Rng;

use super::journal::Journal;
use super::judge::{Judge, LifeEnd};
use super::life::{Heard, Life};
use super::plan::{self, Fate};
use super::post::Post;
use super::wire::{Command, Event};

/// After such a silence somebody waits for something that will never come.
const SILENCE: Duration = Duration::from_secs(120);

/// How long a process that is to be closed may take to answer what is out; bodies that hang never
/// do.
const DRAINING: Duration = Duration::from_secs(2);

/// What a process is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// New messages, duplicates, a person, and its fate; not longer than until then.
    Torture(Instant),
    /// Whatever is not settled, until it is.
    Settle,
    /// Every message once more.
    Quiet,
    /// No message: only what is left of those that went wrong.
    Inspect,
}

/// What a round is made of.
pub(crate) struct Round {
    program: PathBuf,
    folder: PathBuf,
    seed: u64,
    random: Rng,
    post: Post,
    pub(crate) judge: Judge,
    pub(crate) journal: Journal,
    pub(crate) tally: Tally,
}

/// What only the parent knows.
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

/// How far a process has come.
struct Progress {
    manner: Manner,
    fate: Option<Fate>,
    started: Instant,
    opened: Option<Instant>,
    heard: Instant,
    /// Standing still until then.
    still: Option<Instant>,
    stopped: bool,
    /// It gets no more calls, and is closed when all are answered, or killed then.
    draining: Option<Instant>,
    /// It got a signal or a command that ends it.
    ending: bool,
    killed: bool,
    /// It kills itself.
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
            post: Post::new(seed, callers, messages),
            judge: Judge::default(),
            journal: Journal::start(folder)?,
            tally: Tally::default(),
        })
    }

    /// The whole of it. Tells at times how far it is.
    pub(crate) fn run(
        &mut self,
        until: Instant,
        mut tell: impl FnMut(&Tally),
    ) -> anyhow::Result<()> {
        while Instant::now() < until && !self.post.is_used_up() && self.judge.faults.is_empty() {
            self.live(Manner::Torture(until))?;
            tell(&self.tally);
        }
        // Every process that is killed here, or aborts, uses up attempts, so this ends.
        self.post.deadly = false;
        loop {
            if !self.judge.faults.is_empty() {
                return self.inspect();
            }
            // It closes when everything is settled.
            if self.live(Manner::Settle)? == LifeEnd::Closed {
                break;
            }
        }
        tell(&self.tally);
        self.post.remind_of_all();
        if self.live(Manner::Quiet)? == LifeEnd::Closed {
            self.judge.judge();
        }
        Ok(())
    }

    /// Looks at what is left of the messages that went wrong, for their stories.
    fn inspect(&mut self) -> anyhow::Result<()> {
        self.live(Manner::Inspect)?;
        Ok(())
    }

    /// One process, from its start to its end.
    fn live(&mut self, manner: Manner) -> anyhow::Result<LifeEnd> {
        self.tally.processes += 1;
        let number = self.tally.processes;
        let fate = matches!(manner, Manner::Torture(_)).then(|| plan::fate(self.seed, number));
        let mut life = Life::start(&self.program, &self.folder)?;
        let now = Instant::now();
        let mut progress = Progress {
            manner,
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
            match life.hear(self.next_look(&progress)) {
                Heard::Line(line) => {
                    progress.heard = Instant::now();
                    self.journal.note(number, '>', &line)?;
                    let event =
                        serde_json::from_str(&line).with_context(|| format!("it said {line}"))?;
                    self.hear(&event, &mut progress);
                    if !progress.ending && progress.opened.is_some() {
                        self.go_on(&mut life, &mut progress)?;
                    }
                }
                Heard::Nothing => {}
                Heard::Over => break,
            }
            self.look(&mut life, &mut progress)?;
        }
        let (status, errors) = life.buried()?;
        let end = if progress.closed && status.success() {
            self.tally.closes += 1;
            LifeEnd::Closed
        } else if progress.killed || progress.killing {
            self.tally.kills += 1;
            LifeEnd::Killed
        } else if progress.aborting {
            self.tally.aborts += 1;
            LifeEnd::Aborted
        } else {
            self.judge.trouble(format!(
                "process {number} ended by itself with {status}: {errors}"
            ));
            LifeEnd::Aborted
        };
        self.judge.life_ended(end);
        self.post.process_ended();
        self.tally.calls = self.post.calls();
        self.tally.messages = self.post.messages().count() as u64;
        Ok(end)
    }

    fn hear(&mut self, event: &Event, progress: &mut Progress) {
        match event {
            Event::Opened => progress.opened = Some(Instant::now()),
            Event::Closed => progress.closed = true,
            Event::Aborting { .. } => progress.aborting = true,
            Event::Killing => progress.killing = true,
            Event::Hanging { n } => self.post.hangs(*n),
            Event::Told {
                call,
                variant,
                answer,
                ..
            } => self.post.told(*call, *variant, answer),
            Event::Closing {
                n,
                letter,
                token,
                redrive: true,
            } => self.post.redriven(*n, letter, *token),
            _ => {}
        }
        self.judge.take(event);
    }

    /// What there is to say now.
    fn go_on(&mut self, life: &mut Life, progress: &mut Progress) -> anyhow::Result<()> {
        match progress.manner {
            Manner::Torture(_) if progress.draining.is_some() => {
                if self.post.nothing_is_out() {
                    progress.ending = true;
                    self.say(life, &Command::Close)?;
                }
            }
            Manner::Torture(_) => {
                self.send(life, true)?;
                if self.judge.counts.answers >= progress.operate_at {
                    progress.operate_at = self.judge.counts.answers + self.random.u64(100..600);
                    let (seed, kills) = (self.random.u64(..), self.random.u32(..5) == 0);
                    self.say(life, &Command::Operate { seed, kills })?;
                }
            }
            Manner::Settle => {
                self.send(life, false)?;
                if self.post.is_settled() {
                    progress.ending = true;
                    self.say(life, &Command::Close)?;
                } else if self.post.only_hangs() {
                    progress.kill(life)?;
                }
            }
            Manner::Quiet => {
                self.send(life, false)?;
                if self.post.is_still() {
                    progress.ending = true;
                    let messages: Vec<_> = self.post.messages().map(|(n, _)| n).collect();
                    self.ask_for(life, &messages)?;
                }
            }
            Manner::Inspect => {
                progress.ending = true;
                let wrong: Vec<_> = self
                    .judge
                    .faults
                    .iter()
                    .filter_map(|fault| fault.n)
                    .collect();
                self.ask_for(life, &wrong)?;
            }
        }
        Ok(())
    }

    /// As many calls as there are callers.
    fn send(&mut self, life: &mut Life, new: bool) -> anyhow::Result<()> {
        // Some looks find nothing: what hangs waits for the next process.
        for _ in 0..100 {
            if !self.post.has_room() {
                break;
            }
            for call in self.post.next(new) {
                if let Some(plan) = self.post.plan(call.n) {
                    self.judge.delivered(call.n, plan.handler, plan.contended);
                }
                self.say(life, &Command::Call(call))?;
            }
        }
        Ok(())
    }

    /// Has all letters said, and the records of these messages, and then the end.
    fn ask_for(&mut self, life: &mut Life, messages: &[u64]) -> anyhow::Result<()> {
        self.say(life, &Command::Letters)?;
        for n in messages {
            if let Some(handler) = self.post.plan(*n).map(|plan| plan.handler) {
                self.say(life, &Command::Record { n: *n, handler })?;
            }
        }
        self.say(life, &Command::Close)
    }

    fn say(&mut self, life: &mut Life, command: &Command) -> anyhow::Result<()> {
        self.journal
            .note(self.tally.processes, '<', &serde_json::to_string(command)?)?;
        life.say(command)
    }

    /// When to look whether it is time for something.
    fn next_look(&self, progress: &Progress) -> Instant {
        let times = [
            progress.end(),
            progress.stop(),
            progress.still,
            Some(progress.silent()),
        ];
        times.into_iter().flatten().min().unwrap_or(progress.heard)
    }

    /// Does what it is time for.
    fn look(&mut self, life: &mut Life, progress: &mut Progress) -> anyhow::Result<()> {
        let now = Instant::now();
        if progress.still.is_some_and(|until| now >= until) {
            (progress.still, progress.heard) = (None, now);
            life.go_on()?;
        }
        if progress.stop().is_some_and(|at| now >= at) {
            let pause = progress
                .fate
                .and_then(|fate| fate.stopped)
                .map_or(Duration::ZERO, |(_, pause)| pause);
            (progress.stopped, progress.still) = (true, Some(now + pause));
            self.tally.stops += 1;
            life.stop()?;
        }
        if progress.end().is_some_and(|at| now >= at) {
            let gently = progress.fate.is_some_and(|fate| fate.gently);
            if gently && progress.opened.is_some() && progress.draining.is_none() {
                progress.draining = Some(now + DRAINING);
                self.go_on(life, progress)?;
            } else {
                progress.kill(life)?;
            }
        }
        if now >= progress.silent() {
            let unanswered = self.post.unanswered();
            self.judge.trouble(format!(
                "nothing was heard for {SILENCE:?}; calls of {unanswered:?} are not answered"
            ));
            progress.kill(life)?;
        }
        Ok(())
    }
}

impl Progress {
    /// When its time is over.
    fn end(&self) -> Option<Instant> {
        let Manner::Torture(until) = self.manner else {
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

    /// When it is to stand still.
    fn stop(&self) -> Option<Instant> {
        let (after, _) = self
            .fate?
            .stopped
            .filter(|_| !self.stopped && !self.ending)?;
        self.opened.map(|opened| opened + after)
    }

    /// When it has said nothing for too long.
    fn silent(&self) -> Instant {
        self.heard.max(self.still.unwrap_or(self.heard)) + SILENCE
    }

    fn kill(&mut self, life: &mut Life) -> anyhow::Result<()> {
        // A process that has been killed is a silent one, too.
        (self.ending, self.killed, self.heard) = (true, true, Instant::now());
        life.kill()
    }
}
