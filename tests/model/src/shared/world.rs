//! The world of the shared core's model: the store's rows, runners and numbers, and in each process
//! the jobs, the batches on their way, and its own running claims.

use idem_runtime::protocol::Record;

use super::bugs::Bug;
use super::jobs::{Alone, Ask, Batch, Job, Write};
use crate::history::{End, History};
use crate::world::{BEAT, Ending, LEASE};

/// How long after it was asked for a write may still take place. A block of numbers serves for half
/// of it, and a row without a record stays for twice as long.
pub(crate) const LATEST: i64 = 2;
/// How many numbers are reserved at once.
const BLOCK: u64 = 4;

/// What one check is about.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) keys: usize,
    pub(crate) retries: u32,
    /// Each process's clock: how far it is ahead of the store's.
    pub(crate) clocks: &'static [i64],
    pub(crate) mode: Mode,
    /// How many rounds a process may have under way.
    pub(crate) rounds: usize,
    /// How a body may end.
    pub(crate) endings: &'static [Ending],
    pub(crate) left: Limits,
}

/// When a body claims, and whether its result is recorded in its own transaction, beside its business
/// data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Before it starts, and there is no transaction.
    Plain,
    /// Before it starts.
    Counted,
    /// With its end.
    Single,
    /// Before it starts, or with its end if the message came for the first time.
    Fresh,
}

/// How often something may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Limits {
    pub(crate) calls: u8,
    pub(crate) crashes: u8,
    /// Answers that are lost, and transactions that are rolled back.
    pub(crate) lost: u8,
    pub(crate) ticks: u8,
    pub(crate) sweeps: u8,
    pub(crate) beats: u8,
}

/// Processes with the shared core over one store, by its rules or with one of them broken.
pub(crate) struct Core {
    pub(crate) scene: Scene,
    pub(crate) bug: Option<Bug>,
}

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    /// The store's time.
    pub(crate) now: i64,
    /// The last number that was reserved, the last letter's, and the last claim's.
    pub(crate) numbers: u64,
    pub(crate) letter: u64,
    pub(crate) nonce: u64,
    pub(crate) keys: Vec<Key>,
    pub(crate) runners: Vec<Runner>,
    pub(crate) processes: Vec<Process>,
    /// Batches whose answers are not waited for any more. They can land until they are too old.
    pub(crate) late: Vec<Batch>,
    pub(crate) left: Limits,
    /// The processes' clocks, and whether they agree.
    pub(crate) clocks: &'static [i64],
    pub(crate) interchangeable: bool,
}

/// One key: in the store, and as an observer saw it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Key {
    pub(crate) row: Option<Row>,
    pub(crate) history: History,
    /// The largest token that it ever had.
    pub(crate) token: u64,
    /// The claims whose results were recorded, and those whose business data was committed.
    pub(crate) recorded: Vec<u64>,
    pub(crate) business: Vec<u64>,
    /// How many of these were forgotten again.
    pub(crate) forgotten: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) version: u64,
    /// A row without one was left by a removal.
    pub(crate) record: Option<Record>,
    /// When it may be removed, if its record is not live.
    pub(crate) due: i64,
}

/// One life of a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Runner {
    pub(crate) process: usize,
    /// Until when it lives, by the store's clock.
    pub(crate) until: i64,
    pub(crate) dead: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Process {
    pub(crate) runner: usize,
    /// Until when it believes that it lives, by its own clock.
    pub(crate) believes: i64,
    pub(crate) block: Block,
    pub(crate) locals: Vec<Local>,
    /// The batches on their way, with other keys each.
    pub(crate) batches: Vec<Batch>,
}

/// Reserved numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Block {
    next: u64,
    end: u64,
    /// Until when it serves, by the process's clock.
    until: i64,
}

/// What a process has of a key.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Local {
    /// Its own running claim, and the version of the row.
    pub(crate) own: Option<(Record, u64)>,
    /// What is known of the row may be wrong: the next job reads it.
    pub(crate) doubt: bool,
    pub(crate) job: Option<Job>,
    pub(crate) hand: Hand,
    /// The attempt that is in hand, if it claims with its end.
    pub(crate) alone: Option<Alone>,
    /// The transaction that commits.
    pub(crate) commit: Option<Batch>,
}

/// What a call is doing with the key, beside its job.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) enum Hand {
    #[default]
    Empty,
    /// A body is running, and believes in its claim until then, by its process's clock.
    Body { token: u64, until: i64 },
    /// Its transaction is committing.
    Committing { token: u64, until: i64 },
    /// Its transaction was not committed, or may not have been: that is being reported.
    Unsure { token: u64 },
    /// A report that the ledger did not take is kept.
    Owing { token: u64, ending: Ending },
    /// A claim that was not answered is kept: it will be given back.
    Asked { nonce: u64 },
}

impl Mode {
    pub(crate) fn has_transactions(self) -> bool {
        self != Self::Plain
    }
}

impl Key {
    /// What was remembered for its time is forgotten.
    pub(crate) fn pass(&mut self, now: i64) {
        let is_done = |key: &Self| matches!(key.history.end, Some(End::Done { .. }));
        let was_done = is_done(self);
        self.history.pass(now);
        if was_done && !is_done(self) {
            self.forgotten = self.business.len();
        }
    }
}

impl Local {
    /// The report of the attempt that is in hand.
    pub(crate) fn report(&self, token: u64, ending: Ending) -> Ask {
        match self.alone {
            Some(alone) => Ask::Attempt { alone, ending },
            None => Ask::Report { token, ending },
        }
    }
}

impl Core {
    pub(crate) fn new(scene: Scene) -> Self {
        Self { scene, bug: None }
    }

    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    pub(crate) fn start(&self) -> State {
        let clocks = self.scene.clocks;
        let mut state = State {
            now: 0,
            numbers: 0,
            letter: 0,
            nonce: 0,
            keys: vec![Key::default(); self.scene.keys],
            runners: Vec::new(),
            processes: Vec::new(),
            late: Vec::new(),
            left: self.scene.left,
            clocks,
            interchangeable: clocks[0] == clocks[1],
        };
        for (process, clock) in clocks.iter().enumerate() {
            state.processes.push(Process {
                runner: 0,
                believes: 0,
                block: Block {
                    next: 0,
                    end: 0,
                    until: 0,
                },
                locals: vec![Local::default(); self.scene.keys],
                batches: Vec::new(),
            });
            self.reserve(&mut state, process);
            state.is_born(process, *clock);
            for at in &mut state.processes[process].locals {
                at.doubt = false;
            }
        }
        state
    }

    /// A process's own clock.
    pub(crate) fn local(&self, state: &State, process: usize) -> i64 {
        state.now + self.scene.clocks[process]
    }

    /// A number that is larger than that of the row, from a block that is not old.
    pub(crate) fn number(&self, state: &mut State, process: usize, floor: u64) -> u64 {
        let now = self.local(state, process);
        let Block { next, end, until } = state.processes[process].block;
        let is_old = now > until && !self.has(Bug::StaleBlock);
        if is_old || next <= floor || next > end {
            self.reserve(state, process);
        }
        let block = &mut state.processes[process].block;
        block.next += 1;
        block.next - 1
    }

    fn reserve(&self, state: &mut State, process: usize) {
        let next = state.numbers + 1;
        state.numbers += BLOCK;
        state.processes[process].block = Block {
            next,
            end: state.numbers,
            until: self.local(state, process) + LATEST / 2,
        };
    }

    /// Whether a body believes in its claim.
    pub(crate) fn believes(&self, state: &State, process: usize, until: i64) -> bool {
        let local = self.local(state, process);
        local < until && local < state.processes[process].believes
    }

    /// Until when a claim is believed in that was decided then.
    pub(crate) fn belief(write: &Write) -> i64 {
        write.local + LEASE
    }
}

impl Block {
    /// How many numbers are left, the first of them, and until when they serve.
    pub(crate) fn parts(&self) -> (u64, u64, i64) {
        (self.end + 1 - self.next, self.next, self.until)
    }
}

impl State {
    /// A process begins a new life: under a new name, and with nothing in memory that it believes.
    pub(crate) fn is_born(&mut self, process: usize, clock: i64) {
        self.runners.push(Runner {
            process,
            until: self.now + BEAT,
            dead: false,
        });
        let runner = self.runners.len() - 1;
        let local = self.now + clock;
        let process = &mut self.processes[process];
        (process.runner, process.believes) = (runner, local + BEAT);
        for at in &mut process.locals {
            (at.own, at.doubt) = (None, true);
            if let Hand::Body { until, .. } | Hand::Committing { until, .. } = &mut at.hand {
                *until = local;
            }
        }
    }

    /// A batch is not waited for any more. If it was sent and has not landed, it still may.
    pub(crate) fn is_late(&mut self, batch: Batch) {
        let sent = batch.sent <= self.now && self.now <= batch.sent + LATEST;
        if sent && batch.outcome.is_none() {
            self.late.push(batch);
        }
    }

    /// The runner that holds the running claim of a record.
    pub(crate) fn owner(&self, record: Option<&Record>) -> Option<usize> {
        let (_, runner) = record?.owner()?.split_once('.')?;
        runner.parse().ok()
    }

    pub(crate) fn record(&self, key: usize) -> Option<&Record> {
        self.keys[key].row.as_ref()?.record.as_ref()
    }

    /// Whether a batch on its way has a write of a key.
    pub(crate) fn is_in_batch(&self, process: usize, key: usize) -> bool {
        let mut writes = self.processes[process]
            .batches
            .iter()
            .flat_map(|batch| &batch.writes);
        writes.any(|write| write.key == key)
    }

    pub(crate) fn local(&mut self, process: usize, key: usize) -> &mut Local {
        &mut self.processes[process].locals[key]
    }
}
