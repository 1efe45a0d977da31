//! When two states are the same to the protocol: it compares times with now, and tokens and letters
//! with each other, and asks for nothing else of them. So a state is known by times relative to
//! now, by tokens and letters named in the order in which they appear, and by processes and keys in
//! whichever order; and there are finitely many, however long the world goes on.

use std::hash::{Hash, Hasher};

use idem_runtime::clock::Timestamp;
use idem_runtime::protocol::{
    Budget, DeadLetterId, Live, OnCrash, Phase, Record, RedrivenFrom, Settled, Settlement,
};

use crate::history::{Attempt, End, History, Rearmed, Told};
use crate::world::{Asked, Ending, Hand, Key, LEASE, Letter, Runner, State, TTL, start_of};

/// Every order of up to three processes.
const ORDERS: [&[&[usize]]; 3] = [
    &[&[0]],
    &[&[0, 1], &[1, 0]],
    &[
        &[0, 1, 2],
        &[0, 2, 1],
        &[1, 0, 2],
        &[1, 2, 0],
        &[2, 0, 1],
        &[2, 1, 0],
    ],
];

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.left.hash(hasher);
        self.view().hash(hasher);
    }
}

impl State {
    pub(crate) fn view(&self) -> Vec<Vec<u8>> {
        let orders = ORDERS[self.runners.len() - 1].iter();
        let views = orders.map(|processes| {
            let keys = 0..self.keys.len();
            let mut views: Vec<_> = keys.map(|key| View::of(self, processes, key)).collect();
            views.sort_unstable();
            let lives = processes
                .iter()
                .flat_map(|process| self.runner(*self.runners[*process].last().unwrap()));
            views.push(lives.collect());
            views
        });
        views.min().unwrap()
    }
}

impl State {
    /// What matters of a process's life, where leases are by process.
    fn runner(&self, runner: Runner) -> [u8; 3] {
        let Runner {
            until,
            believes,
            dead,
        } = runner;
        if !self.by_process {
            return [0; 3];
        }
        let left = |until: i64| u8::try_from((until - self.now).max(0)).unwrap();
        [left(until), left(believes), u8::from(dead)]
    }
}

/// One key's part of the view: a list of small numbers.
struct View<'a> {
    state: &'a State,
    processes: &'a [usize],
    seen: Vec<u8>,
    tokens: Vec<u64>,
    letters: Vec<DeadLetterId>,
    nonces: Vec<u64>,
    /// The life that holds the running claim.
    owner: Option<((usize, usize), Runner)>,
}

impl<'a> View<'a> {
    fn of(state: &'a State, processes: &'a [usize], key: usize) -> Vec<u8> {
        let mut view = Self {
            state,
            processes,
            seen: Vec::with_capacity(48),
            tokens: Vec::new(),
            letters: Vec::new(),
            nonces: vec![0],
            owner: state.runner_of(key),
        };
        let Key {
            record,
            letters,
            hands,
            history,
        } = &state.keys[key];
        match record {
            None => view.push(0),
            Some(Record::Live(live)) => view.live(live),
            Some(Record::Settled(settled)) => view.settled(settled),
        }
        view.push(letters.len());
        letters.iter().for_each(|letter| view.letter(letter));
        processes
            .iter()
            .for_each(|process| view.hand(hands[*process]));
        view.history(history);
        view.seen
    }

    // Every part is taken apart field by field: a new field of the protocol belongs here too.
    fn live(&mut self, live: &Live) {
        // The payload and the first time it was seen only go into a letter; handler and key are the
        // record's address.
        let Live {
            handler: _,
            key: _,
            token,
            fingerprint,
            budget,
            payload: _,
            past,
            first_seen: _,
            phase,
            redacted: _,
            origin: _,
            redriven,
            ..
        } = live;
        self.push(1);
        self.token(*token);
        self.push(fingerprint.map_or(0, |fingerprint| fingerprint.0[0]));
        let Budget {
            retries,
            on_crash,
            ttl: _,
            ..
        } = *budget;
        self.push(retries as usize);
        self.push(usize::from(on_crash == OnCrash::Bury));
        self.push(past.len());
        for attempt in past {
            self.push(attempt.number as usize);
            self.push(attempt.outcome as usize);
        }
        if let Some(RedrivenFrom {
            letter,
            fingerprint,
            attempts,
            cause: unread,
            arguments: _,
            ..
        }) = redriven.as_deref()
        {
            self.letter_id(*letter);
            self.push(fingerprint.map_or(0, |fingerprint| fingerprint.0[0]));
            self.push(*attempts as usize + 1);
            self.push(usize::from(unread.is_some()));
        } else {
            self.push(0);
        }
        match phase {
            Phase::Waiting { since, until } => {
                self.push(0);
                self.age(*since);
                self.age(*until);
                self.left(*until);
            }
            Phase::Running {
                number,
                since,
                owner: _,
                session,
                until,
                nonce,
            } => {
                self.push(1);
                self.push(*number as usize);
                self.age(*since);
                self.age(*until);
                self.left(*until);
                let today = self.owner.filter(|(owner, _)| self.state.is_today(*owner));
                let alive = today.and_then(|((owner, _), _)| {
                    self.processes.iter().position(|process| *process == owner)
                });
                self.push(alive.map_or(9, |place| place));
                // What the ledger knows of a process that died; the others are seen with theirs.
                let gone = self.owner.filter(|_| today.is_none());
                let [left, _, dead] = gone.map_or([0; 3], |(_, runner)| self.state.runner(runner));
                self.push(if dead == 1 { 0 } else { left });
                self.push(usize::from(*session == self.state.session));
                self.nonce(*nonce);
            }
        }
    }

    fn settled(&mut self, settled: &Settled) {
        let Settled {
            token,
            fingerprint,
            at,
            ttl: _,
            attempts,
            end,
            ..
        } = settled;
        self.push(2);
        self.token(*token);
        self.push(fingerprint.map_or(0, |fingerprint| fingerprint.0[0]));
        self.age(*at);
        self.push(*attempts as usize);
        match end {
            Settlement::Done(result) => {
                self.push(0);
                self.token(start_of(result));
            }
            Settlement::Dead(letter) => {
                self.push(1);
                self.letter_id(*letter);
            }
            Settlement::Discarded(letter) => {
                self.push(2);
                self.letter_id(*letter);
            }
            Settlement::Issued => self.push(3),
            other => panic!("the view does not know {other:?}"),
        }
    }

    fn letter(&mut self, letter: &Letter) {
        let Letter { id, state, reason } = *letter;
        self.letter_id(id);
        self.push(state as usize);
        // What people did can be undone.
        self.push(reason as usize);
    }

    fn hand(&mut self, hand: Hand) {
        match hand {
            Hand::Empty => self.push(0),
            Hand::Body {
                token,
                until,
                acted,
            } => {
                self.push(1);
                self.token(token);
                self.push((until - self.state.now).max(0) as usize);
                self.push(usize::from(acted));
            }
            Hand::Asked {
                claim:
                    Asked {
                        nonce,
                        fingerprint,
                        version,
                    },
                granted,
            } => {
                self.push(3);
                self.nonce(nonce);
                self.push(fingerprint);
                self.push(version);
                self.push(usize::from(granted.is_some()));
                self.token(granted.unwrap_or(0));
            }
            Hand::Owing { token, ending } => {
                self.push(2);
                self.token(token);
                self.push(match ending {
                    Ending::Done => 99,
                    Ending::GivenBack => 98,
                    Ending::Failed(outcome) => outcome as usize,
                });
            }
        }
    }

    fn history(&mut self, history: &History) {
        let History {
            message,
            redriven,
            rearmed,
            followed,
            unread,
            starts,
            outage,
            allowed,
            bury,
            last,
            nonce,
            counted: _, // Every attempt has a claim.
            begun,
            attempt,
            until,
            end,
            told,
            acted,
            broken,
        } = history;
        self.push(message.map_or(99, usize::from));
        self.push(*starts as usize);
        self.push(usize::from(*outage));
        self.push(*allowed as usize);
        self.push(usize::from(*bury));
        self.token(last.unwrap_or(0));
        if *attempt == Attempt::Open {
            self.nonce(*nonce);
            self.push(usize::from(*begun));
        }
        self.push(*attempt as usize);
        self.push(redriven.unwrap_or(0));
        self.push(usize::from(*unread));
        for rearmed in [rearmed, followed] {
            if let Some(Rearmed {
                letter,
                message,
                unread,
            }) = *rearmed
            {
                self.letter_id(letter);
                self.push(message.map_or(99, usize::from));
                self.push(1 + usize::from(unread));
            } else {
                self.push(0);
            }
        }
        let matters = end.is_none() && (*starts > 0 || *outage || redriven.is_some());
        self.push(if matters {
            (LEASE + self.state.now - until).min(LEASE + TTL) as usize
        } else {
            0
        });
        match end {
            None => self.push(0),
            Some(End::Done { result, at }) => {
                self.push(1);
                self.token(*result);
                self.push((self.state.now - at).min(TTL) as usize);
            }
            Some(End::Dead { letter }) => {
                self.push(2);
                self.letter_id(*letter);
            }
            Some(End::Discarded { letter, at }) => {
                self.push(3);
                self.letter_id(*letter);
                self.push((self.state.now - at).min(TTL) as usize);
            }
        }
        match told {
            None => self.push(0),
            Some(Told::Result(result)) => {
                self.push(1);
                self.token(*result);
            }
            Some(Told::Dead(letter)) => {
                self.push(2);
                self.letter_id(*letter);
            }
        }
        self.push(usize::from(*acted));
        broken.iter().for_each(|law| self.push(*law as usize));
    }

    fn push(&mut self, number: impl TryInto<u8, Error: std::fmt::Debug>) {
        self.seen.push(number.try_into().unwrap());
    }

    fn token(&mut self, token: u64) {
        let name = name(&mut self.tokens, token);
        self.push(name);
    }

    fn nonce(&mut self, nonce: u64) {
        let name = name(&mut self.nonces, nonce);
        self.push(name);
    }

    fn letter_id(&mut self, letter: DeadLetterId) {
        let name = name(&mut self.letters, letter);
        self.push(name);
    }

    /// How long ago, as far as it matters.
    fn age(&mut self, then: Timestamp) {
        self.push((self.state.now - then.as_second()).clamp(0, TTL) as usize);
    }

    /// How long still.
    fn left(&mut self, then: Timestamp) {
        self.push((then.as_second() - self.state.now).max(0) as usize);
    }
}

fn name<T: PartialEq>(names: &mut Vec<T>, of: T) -> usize {
    names
        .iter()
        .position(|known| *known == of)
        .unwrap_or_else(|| {
            names.push(of);
            names.len() - 1
        })
}
