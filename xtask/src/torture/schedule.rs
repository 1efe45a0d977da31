//! What is delivered next, and to which process: new messages, their duplicates, and messages that
//! were not acknowledged.

use std::collections::{HashMap, HashSet, VecDeque};

use fastrand::Rng;

use super::event::{Answer, Call, Handler, Moment};
use super::plan::{self, Ledger, Message};

#[cfg(test)]
mod tests;

/// How many messages may hang at once; they do not delay other calls.
const HUNG: usize = 4;
/// How many settled messages are delivered again when a process starts.
const REMINDERS: usize = 40;

/// All messages of a folder, and the calls in flight.
pub(crate) struct Schedule {
    seed: u64,
    ledger: Ledger,
    random: Rng,
    /// How many calls a process gets at a time.
    callers: usize,
    /// How many messages the folder gets.
    limit: u64,
    messages: Vec<State>,
    due: VecDeque<Due>,
    /// Hanging messages that wait for the next process.
    parked: Vec<u64>,
    out: HashMap<u64, Sent>,
    /// Calls of each process that count against `callers`.
    running: HashMap<u32, usize>,
    /// Messages that may hang, at most [`HUNG`].
    hung: HashSet<u64>,
    /// Messages with a hanging body.
    hanging: HashSet<u64>,
    unsettled: usize,
    calls: u64,
    /// Whether some calls kill their process.
    pub(crate) deadly: bool,
    /// Whether callers no longer drop calls.
    patient: bool,
}

struct State {
    plan: Message,
    settled: bool,
    done: bool,
    redriven: bool,
    /// The variant that has the key.
    winner: Option<u8>,
    redrives: Vec<Redrive>,
}

/// A redrive in a process that has not ended. An earlier answer may arrive later.
struct Redrive {
    process: u32,
    letter: String,
    /// The last token that belongs to the letter.
    last: u64,
}

struct Due {
    n: u64,
    wait: u32,
}

struct Sent {
    process: u32,
    n: u64,
    counts: bool,
}

impl Schedule {
    pub(crate) fn new(seed: u64, ledger: Ledger, callers: usize, limit: u64) -> Self {
        Self {
            seed,
            ledger,
            random: Rng::with_seed(seed),
            callers,
            limit,
            messages: Vec::new(),
            due: VecDeque::new(),
            parked: Vec::new(),
            out: HashMap::new(),
            running: HashMap::new(),
            hung: HashSet::new(),
            hanging: HashSet::new(),
            unsettled: 0,
            calls: 0,
            deadly: true,
            patient: false,
        }
    }

    /// Returns the numbers and plans of all messages so far.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (u64, &Message)> {
        (0..).zip(self.messages.iter().map(|state| &state.plan))
    }

    pub(crate) fn plan(&self, n: u64) -> Option<&Message> {
        self.state(n).map(|state| &state.plan)
    }

    fn state(&self, n: u64) -> Option<&State> {
        self.messages.get(usize::try_from(n).ok()?)
    }

    fn state_mut(&mut self, n: u64) -> Option<&mut State> {
        self.messages.get_mut(usize::try_from(n).ok()?)
    }

    /// Returns the next calls for a process to make at once: several of a message with duplicates in
    /// flight, none if nothing is due, and new messages only if `new`.
    pub(crate) fn next(&mut self, process: u32, new: bool) -> Vec<Call> {
        let new = new && (self.messages.len() as u64) < self.limit;
        if new && (self.due.is_empty() || self.random.bool()) {
            return self.fresh(process);
        }
        while let Some(Due { n, wait }) = self.due.pop_front() {
            let Some(state) = self.state(n) else { continue };
            if state.plan.handler == Handler::Hung && !state.settled && !self.may_hang(n) {
                continue;
            }
            let variant = self.variant(n);
            return self.call(process, n, variant, wait).into_iter().collect();
        }
        Vec::new()
    }

    /// Returns whether one more message may hang; if not, it waits.
    fn may_hang(&mut self, n: u64) -> bool {
        let room = self.hung.len() < HUNG || self.hung.contains(&n);
        if room {
            self.hung.insert(n);
        } else {
            self.parked.push(n);
        }
        room
    }

    fn fresh(&mut self, process: u32) -> Vec<Call> {
        let n = self.messages.len() as u64;
        if n > 0 && self.random.u32(..10) == 0 {
            return self.reminder(process).into_iter().collect();
        }
        let plan = plan::message(self.seed, self.ledger, n);
        let hung = plan.handler == Handler::Hung;
        self.messages.push(State {
            plan,
            settled: false,
            done: false,
            redriven: false,
            winner: None,
            redrives: Vec::new(),
        });
        self.unsettled += 1;
        if hung && !self.may_hang(n) {
            return Vec::new();
        }
        let copies = if self.random.u32(..4) == 0 {
            self.random.u32(2..=5)
        } else {
            1
        };
        (0..copies)
            .filter_map(|_| {
                let variant = self.variant(n);
                // Some arrive while the first one's result is on its way to the disk.
                let wait = if self.random.bool() {
                    self.random.u32(..15)
                } else {
                    0
                };
                let mut call = self.call(process, n, variant, wait)?;
                call.redelivered = false;
                Some(call)
            })
            .collect()
    }

    /// Returns a duplicate of any message so far, sometimes with another content if it must be
    /// refused.
    fn reminder(&mut self, process: u32) -> Option<Call> {
        let n = self.random.u64(..self.messages.len() as u64);
        let probe = self.random.u32(..10) == 0;
        let state = self.state(n)?;
        if !state.settled {
            return None;
        }
        let refused =
            probe && state.done && !state.plan.contended && state.plan.handler != Handler::Brief;
        let variant = if refused { 1 } else { self.variant(n) };
        self.call(process, n, variant, 0)
    }

    fn variant(&mut self, n: u64) -> u8 {
        let coin = self.random.bool();
        match self.state(n) {
            Some(State {
                winner: Some(winner),
                ..
            }) => *winner,
            Some(state) if state.plan.contended => coin.into(),
            _ => 0,
        }
    }

    fn call(&mut self, process: u32, n: u64, variant: u8, wait: u32) -> Option<Call> {
        let drops = match self.random.u32(..100) {
            0..3 => Some(self.random.u32(..8)),
            3..30 => Some(self.random.u32(3..40)),
            _ => None,
        };
        // An answer given while a result is on its way to the disk must be as durable as any other.
        let kills = match self.random.u32(..if wait > 0 { 800 } else { 4_000 }) {
            _ if !self.deadly => None,
            0 => Some(Moment::Told),
            1 => Some([Moment::Started, Moment::Ended][usize::from(self.random.bool())]),
            _ => None,
        };
        let state = self.state(n)?;
        let Message {
            handler,
            payload,
            result,
            acts,
            acts_when_redriven,
            ..
        } = &state.plan;
        let acts = if state.redriven {
            acts_when_redriven
        } else {
            acts
        };
        let lingers = acts.contains(&super::event::Act::Linger);
        let drop_after = drops
            .filter(|after| *after < 8 || lingers)
            .filter(|_| *handler != Handler::Sync && !self.patient);
        let counts = *handler != Handler::Hung || state.settled;
        let call = Call {
            call: self.calls,
            n,
            variant,
            handler: *handler,
            payload: *payload,
            result: *result,
            acts: acts.clone(),
            wait,
            drop_after,
            kills,
            redelivered: true,
        };
        self.calls += 1;
        *self.running.entry(process).or_default() += usize::from(counts);
        self.out.insert(call.call, Sent { process, n, counts });
        Some(call)
    }

    /// Takes the answer to a call.
    pub(crate) fn told(&mut self, call: u64, variant: u8, answer: &Answer) {
        let Some(Sent { process, n, counts }) = self.out.remove(&call) else {
            return;
        };
        if let Some(running) = self.running.get_mut(&process) {
            *running -= usize::from(counts);
        }
        let wait = match answer {
            Answer::NotYet { after } => after + 1,
            Answer::InProgress => 3,
            // As a broker, which knows no better.
            Answer::Away(_) => 100,
            _ => 0,
        };
        let Some(state) = self.state(n) else { return };
        let redelivered = state.plan.handler == Handler::Redeliver;
        let contended = state.plan.contended;
        let stale = match answer {
            Answer::Dead { letter, .. } => state
                .redrives
                .iter()
                .any(|redrive| redrive.letter == *letter),
            Answer::Own { token } => {
                let late = |redrive: &Redrive| *token <= redrive.last;
                state.redrives.iter().any(late)
            }
            _ => false,
        };
        match answer {
            Answer::Ok { .. } => self.settle(n, variant, true),
            Answer::Dead { .. } if !stale => self.settle(n, variant, false),
            Answer::Own { .. } if !redelivered && !stale => self.settle(n, variant, false),
            // The message was settled meanwhile.
            _ if state.settled => {}
            Answer::Reused if !contended => {}
            _ => self.due.push_back(Due { n, wait }),
        }
    }

    fn settle(&mut self, n: u64, variant: u8, done: bool) {
        let Some(state) = self.state_mut(n) else {
            return;
        };
        let was = std::mem::replace(&mut state.settled, true);
        state.done |= done;
        state.winner = Some(variant);
        self.unsettled -= usize::from(!was);
        if self.hung.remove(&n) {
            self.hanging.remove(&n);
            self.due
                .extend(self.parked.drain(..).map(|n| Due { n, wait: 0 }));
        }
    }

    /// Marks a message whose body will never return.
    pub(crate) fn hangs(&mut self, n: u64) {
        if self.hung.contains(&n) {
            self.hanging.insert(n);
        }
    }

    /// Schedules a message that a process redrives.
    pub(crate) fn redriven(&mut self, process: u32, n: u64, letter: &str, last: u64) {
        let Some(state) = self.state_mut(n) else {
            return;
        };
        let was = std::mem::replace(&mut state.settled, false);
        (state.redriven, state.winner) = (true, None);
        state.redrives.push(Redrive {
            process,
            letter: letter.to_owned(),
            last,
        });
        self.unsettled += usize::from(was);
        self.due.push_back(Due { n, wait: 0 });
    }

    /// Schedules what the ended process had not answered, and a part of what it had.
    pub(crate) fn process_ended(&mut self, process: u32) {
        let unanswered = self.out.extract_if(|_, sent| sent.process == process);
        let mut numbers: HashSet<u64> = unanswered.map(|(_, sent)| sent.n).collect();
        numbers.extend(self.due.drain(..).map(|due| due.n));
        numbers.extend(self.parked.drain(..));
        numbers.retain(|n| self.state(*n).is_some_and(|state| !state.settled));
        let all = self.messages.len() as u64;
        numbers.extend(
            (0..REMINDERS)
                .filter(|_| all > 0)
                .map(|_| self.random.u64(..all)),
        );
        let mut numbers: Vec<_> = numbers.into_iter().collect();
        numbers.sort_unstable();
        self.random.shuffle(&mut numbers);
        self.due
            .extend(numbers.into_iter().map(|n| Due { n, wait: 0 }));
        self.running.remove(&process);
        let out: HashSet<u64> = self.out.values().map(|sent| sent.n).collect();
        self.hung.retain(|n| out.contains(n));
        self.hanging.retain(|n| out.contains(n));
        for state in &mut self.messages {
            state.redrives.retain(|redrive| redrive.process != process);
        }
    }

    /// Schedules all messages once more; no caller drops a call.
    pub(crate) fn remind_of_all(&mut self) {
        self.patient = true;
        self.due = (0..self.messages.len() as u64)
            .map(|n| Due { n, wait: 0 })
            .collect();
    }

    /// Returns whether every message is settled and no call is in flight.
    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled == 0 && self.is_still()
    }

    /// Returns whether no call is in flight and none is due.
    pub(crate) fn is_still(&self) -> bool {
        self.out.is_empty() && self.due.is_empty() && self.parked.is_empty()
    }

    /// Returns whether all messages of the folder were delivered.
    pub(crate) fn is_used_up(&self) -> bool {
        self.messages.len() as u64 >= self.limit
    }

    /// Returns whether only calls with hanging bodies are in flight.
    pub(crate) fn only_hangs(&self) -> bool {
        !self.out.is_empty() && self.out.values().all(|sent| self.hanging.contains(&sent.n))
    }

    /// Returns whether a process has room for another call.
    pub(crate) fn has_room(&self, process: u32) -> bool {
        self.running
            .get(&process)
            .is_none_or(|running| *running < self.callers)
    }

    /// Returns whether every call of a process is answered.
    pub(crate) fn nothing_is_out(&self, process: u32) -> bool {
        self.out.values().all(|sent| sent.process != process)
    }

    /// Returns how many calls were made so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }

    /// Returns the messages with calls in flight in a process.
    pub(crate) fn unanswered(&self, process: u32) -> Vec<u64> {
        let its = self.out.values().filter(|sent| sent.process == process);
        let mut numbers: Vec<_> = its.map(|sent| sent.n).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}
