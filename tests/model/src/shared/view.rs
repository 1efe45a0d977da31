//! When two states are the same to the rules: they compare times with now, and numbers with each
//! other. So a state is known by times relative to now, by the order of its numbers, and by
//! processes in whichever order where their clocks agree.

use std::hash::{Hash, Hasher};

use idem_runtime::clock::Timestamp;
use idem_runtime::protocol::{
    DeadLetterId, Grant, Live, Phase, Record, Reply, Settled, Settlement,
};

use super::jobs::{Alone, Ask, Batch, Job, Outcome, Write};
use super::world::{Hand, Key, Local, Process, Row, Runner, State};
use crate::history::{End, History, Told};
use crate::world::{Ending, LEASE, TTL, start_of};

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.left.hash(hasher);
        self.view().hash(hasher);
    }
}

impl State {
    pub(crate) fn view(&self) -> Vec<u8> {
        let orders: &[&[usize]] = if self.interchangeable {
            &[&[0, 1], &[1, 0]]
        } else {
            &[&[0, 1]]
        };
        let views = orders.iter().map(|order| View::of(self, order));
        views.min().unwrap()
    }
}

/// A list of small numbers, and then the places of the large ones among each other.
struct View<'a> {
    state: &'a State,
    order: &'a [usize],
    seen: Vec<u8>,
    large: Vec<u64>,
}

/// Nonces and letters are numbers of their own.
const NONCES: u64 = 1 << 32;
const LETTERS: u64 = 1 << 33;

impl<'a> View<'a> {
    // Every part is taken apart field by field: a new field of the model belongs here too.
    fn of(state: &'a State, order: &'a [usize]) -> Vec<u8> {
        let State {
            now: _,
            numbers: _, // Those that will be reserved are larger than all.
            letter: _,
            nonce: _,
            keys,
            runners: _,
            processes,
            late,
            left: _, // It stands beside the view.
            clocks: _,
            interchangeable: _,
        } = state;
        let mut view = Self {
            state,
            order,
            seen: Vec::with_capacity(128),
            large: Vec::new(),
        };
        keys.iter().for_each(|key| view.key(key));
        for process in order {
            view.process(&processes[*process]);
        }
        view.push(late.len());
        late.iter().for_each(|batch| view.batch(batch));
        let Self {
            mut seen, large, ..
        } = view;
        let mut sorted = large.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let places = large
            .iter()
            .map(|number| sorted.binary_search(number).unwrap());
        seen.extend(places.map(|place| u8::try_from(place).unwrap()));
        seen
    }

    fn key(&mut self, key: &Key) {
        let Key {
            row,
            history,
            token,
            recorded,
            business,
            forgotten,
        } = key;
        self.row(row.as_ref());
        self.history(history);
        self.large.push(*token);
        for tokens in [recorded, business] {
            self.push(tokens.len());
            self.large.extend(tokens);
        }
        self.push(*forgotten);
    }

    fn row(&mut self, row: Option<&Row>) {
        match row {
            None => self.push(0),
            Some(Row {
                version,
                record,
                due,
            }) => {
                self.push(1);
                self.large.push(*version);
                self.record(record.as_ref());
                self.left(*due);
            }
        }
    }

    fn record(&mut self, record: Option<&Record>) {
        match record {
            None => self.push(0),
            Some(Record::Live(live)) => {
                // The model's messages are all alike, and only letters hold the rest.
                let Live {
                    token, past, phase, ..
                } = live;
                self.push(1);
                self.large.push(*token);
                self.push(past.len());
                for attempt in past {
                    self.push(attempt.number as usize);
                    self.push(attempt.outcome as usize);
                    self.large.extend(attempt.token);
                }
                match phase {
                    Phase::Waiting { since, until } => {
                        self.push(0);
                        self.at(since);
                        self.at(until);
                    }
                    Phase::Running {
                        number,
                        since: _,
                        owner: _,
                        session: _,
                        until,
                        nonce,
                    } => {
                        self.push(1);
                        self.push(*number as usize);
                        let owner = self.state.owner(record).unwrap();
                        self.runner(owner);
                        self.at(until);
                        self.large.push(NONCES + nonce);
                    }
                }
            }
            Some(Record::Settled(settled)) => {
                let Settled { token, at, end, .. } = settled;
                self.push(2);
                self.large.push(*token);
                self.at(at);
                match end {
                    Settlement::Done(result) => {
                        self.push(0);
                        self.large.push(start_of(result));
                    }
                    Settlement::Dead(letter) => {
                        self.push(1);
                        self.letter(*letter);
                    }
                    other => panic!("the view does not know {other:?}"),
                }
            }
        }
    }

    fn runner(&mut self, number: usize) {
        let Runner {
            process,
            until,
            dead,
        } = self.state.runners[number];
        let place = self.order.iter().position(|of| *of == process).unwrap();
        let is_today = self.state.processes[process].runner == number;
        self.push(place);
        self.push(usize::from(is_today) + 2 * usize::from(dead));
        self.left(if dead { self.state.now } else { until });
    }

    fn process(&mut self, process: &Process) {
        let Process {
            runner,
            believes,
            block,
            locals,
            batches,
        } = process;
        self.runner(*runner);
        // A constant clock shows in no difference of its own times.
        let number = self.state.runners[*runner].process;
        let local = self.state.now + self.state.clocks[number];
        let left = |until: i64| usize::try_from((until - local).max(0)).unwrap();
        self.push(left(*believes));
        let (rest, next, serves) = block.parts();
        self.push(usize::try_from(rest).unwrap());
        // Of a block that is used up, the next number is never given out.
        self.large.push(if rest == 0 { 0 } else { next });
        self.push(left(serves + 1));
        for at in locals {
            let Local {
                own,
                doubt,
                job,
                hand,
                alone,
                commit,
            } = at;
            if let Some((record, version)) = own {
                self.push(1);
                self.record(Some(record));
                self.large.push(*version);
            } else {
                self.push(0);
            }
            self.push(usize::from(*doubt));
            match job {
                None => self.push(0),
                Some(Job { ask, read, tried }) => {
                    self.push(1 + tried.len());
                    self.ask(ask);
                    self.push(usize::from(*read));
                    tried.iter().for_each(|write| self.write(write));
                }
            }
            match *hand {
                Hand::Empty => self.push(0),
                Hand::Body { token, until } => {
                    self.push(1);
                    self.large.push(token);
                    self.push(left(until));
                }
                Hand::Committing { token, until } => {
                    self.push(2);
                    self.large.push(token);
                    self.push(left(until));
                }
                Hand::Unsure { token } => {
                    self.push(3);
                    self.large.push(token);
                }
                Hand::Owing { token, ending } => {
                    self.push(4);
                    self.large.push(token);
                    self.ending(ending);
                }
                Hand::Asked { nonce } => {
                    self.push(5);
                    self.large.push(NONCES + nonce);
                }
            }
            self.push(usize::from(alone.is_some()));
            alone.iter().for_each(|alone| self.alone(alone));
            self.optional(commit.as_ref());
        }
        self.push(batches.len());
        batches.iter().for_each(|batch| self.batch(batch));
    }

    fn optional(&mut self, batch: Option<&Batch>) {
        self.push(usize::from(batch.is_some()));
        if let Some(batch) = batch {
            self.batch(batch);
        }
    }

    fn batch(&mut self, batch: &Batch) {
        let Batch {
            runner,
            sent,
            writes,
            outcome,
            commits,
        } = batch;
        self.runner(*runner);
        self.push(if *sent == i64::MAX {
            99
        } else {
            usize::try_from(self.state.now - sent).unwrap()
        });
        self.push(writes.len());
        writes.iter().for_each(|write| self.write(write));
        match outcome {
            None => self.push(0),
            Some(Outcome::RunnerDead) => self.push(1),
            Some(Outcome::Took(took)) => {
                self.push(2 + took.len());
                self.large.extend(took);
            }
        }
        self.push(usize::from(*commits));
    }

    fn write(&mut self, write: &Write) {
        let Write {
            key,
            ask,
            expected,
            version,
            row,
            reply,
            now,
            local: _, // The same moment.
            runner,
            gives_back,
            retires,
        } = write;
        self.push(*key);
        self.ask(ask);
        self.push(usize::from(expected.is_some()));
        self.large.extend(expected);
        self.large.push(*version);
        self.row(row.as_ref());
        let reply = match reply {
            None => 0,
            Some(Reply::Run(_)) => 1,
            Some(Reply::Recorded) => 2,
            Some(Reply::Waiting { .. }) => 3,
            Some(Reply::DeadLettered(letter)) => {
                self.letter(letter.id);
                4
            }
            Some(other) => panic!("nothing is written for {other:?}"),
        };
        self.push(reply);
        self.push(usize::try_from((self.state.now - now + 1).clamp(0, TTL + 1)).unwrap());
        self.runner(*runner);
        self.push(usize::from(gives_back.is_some()));
        if let Some((late, until)) = *retires {
            self.push(1);
            self.runner(late);
            self.push(usize::from(self.state.runners[late].until == until));
        } else {
            self.push(0);
        }
    }

    fn ask(&mut self, ask: &Ask) {
        match *ask {
            Ask::Claim {
                nonce,
                to_give_back,
            } => {
                self.push(usize::from(to_give_back));
                self.large.push(NONCES + nonce);
            }
            Ask::Report { token, ending } => {
                self.push(2);
                self.large.push(token);
                self.ending(ending);
            }
            Ask::Sweep => self.push(3),
            Ask::Attempt { alone, ending } => {
                self.push(4);
                self.alone(&alone);
                self.ending(ending);
            }
        }
    }

    fn alone(&mut self, alone: &Alone) {
        let Alone {
            grant: Grant { token, number, .. },
            at: _, // It stands in letters only.
        } = alone;
        self.large.push(*token);
        self.push(*number as usize);
    }

    fn ending(&mut self, ending: Ending) {
        self.push(match ending {
            Ending::Done => 99,
            Ending::GivenBack => 98,
            Ending::Failed(outcome) => outcome as usize,
        });
    }

    fn history(&mut self, history: &History) {
        let History {
            message,
            outage: _,   // No body meets one here.
            redriven: _, // Nothing is redriven here, and every message can be read.
            rearmed: _,
            followed: _,
            unread: _,
            starts,
            allowed,
            bury: _,
            last,
            nonce,
            counted,
            begun,
            attempt,
            until,
            end,
            told,
            acted: _,
            broken,
        } = history;
        self.push(usize::from(message.is_some()));
        self.push(*starts as usize);
        self.push(*allowed as usize);
        self.large.push(last.unwrap_or(0));
        self.large.push(NONCES + nonce);
        self.push(counted.len());
        self.large.extend(counted);
        self.push(usize::from(*begun));
        self.push(*attempt as usize);
        let ago = (LEASE + self.state.now - until).clamp(0, LEASE + TTL);
        self.push(usize::try_from(ago).unwrap());
        match end {
            None => self.push(0),
            Some(End::Done { result, at }) => {
                self.push(1);
                self.large.push(*result);
                self.push(usize::try_from((self.state.now - at + 1).clamp(0, TTL + 1)).unwrap());
            }
            Some(End::Dead { letter } | End::Discarded { letter, .. }) => {
                self.push(2);
                self.letter(*letter);
            }
        }
        match told {
            None => self.push(0),
            Some(Told::Result(result)) => {
                self.push(1);
                self.large.push(*result);
            }
            Some(Told::Dead(letter)) => {
                self.push(2);
                self.letter(*letter);
            }
        }
        broken.iter().for_each(|law| self.push(*law as usize));
    }

    fn push(&mut self, number: usize) {
        self.seen.push(number.try_into().unwrap());
    }

    fn letter(&mut self, letter: DeadLetterId) {
        let number = u128::from_be_bytes(*letter.as_bytes());
        self.large.push(LETTERS + u64::try_from(number).unwrap());
    }

    /// How long still.
    fn left(&mut self, until: i64) {
        self.push(usize::try_from((until - self.state.now).max(0)).unwrap());
    }

    /// A moment, as far as it matters how far away it is.
    fn at(&mut self, then: &Timestamp) {
        let from_now = then.as_second() - self.state.now;
        self.push(usize::try_from(from_now.clamp(-9, 9) + 9).unwrap());
    }
}
