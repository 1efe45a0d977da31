//! The world of the model: what the ledger holds, what each process has in hand, and the time.
//!
//! Each message is delivered any number of times, at any time, to any process: there is no list of
//! deliveries to go through, so three of them are among what happens, and so is a broker that never
//! stops.

use std::time::Duration;

use idem_runtime::clock::Timestamp;
use idem_runtime::ledger::Leases;
use idem_runtime::protocol::{
    ActionKind, AttemptOutcome, Budget, Bury, BuryCause, Change, Claim, DeadLetterId, Decision,
    Facts, Failed, Fingerprint, LetterChange, LetterState, OnCrash, Origin, Reason, Record,
    RecordId, Reply, Step, StoredResult,
};

use crate::history::{History, Law, Seen};

/// The function under test, or one with a bug in it.
pub(crate) type Decide = fn(&RecordId, Option<Record>, &Step, &Facts) -> Decision;

/// How long things last, in ticks of a second. A lease is longer than a tick, so that a renewal
/// means something, and a result outlives a lease and a pause.
pub(crate) const PAUSE: i64 = 1;
pub(crate) const LEASE: i64 = 2;
/// How long a process lives after its last heartbeat, where leases are by process.
pub(crate) const BEAT: i64 = 1;
pub(crate) const TTL: i64 = 3;

/// What one check is about.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    /// A ledger that processes share, with leases; or the embedded one, with sessions.
    pub(crate) leases: Leases,
    /// Whether a claim that was not answered is kept, to be asked again. Else it is forgotten, as if
    /// too many were kept.
    pub(crate) again: bool,
    pub(crate) processes: usize,
    /// The keys, and the fingerprints of the messages that come with each.
    pub(crate) keys: &'static [&'static [u8]],
    /// The handler's versions, as a deploy leaves them side by side: retries, and whether to bury
    /// on a crash.
    pub(crate) versions: &'static [(u32, bool)],
    /// The messages that no handler can take, and that come with each key.
    pub(crate) unread: &'static [u8],
    /// How a body may fail. The other outcomes are treated as one of these.
    pub(crate) failures: &'static [AttemptOutcome],
    /// How often the world may do what.
    pub(crate) left: Limits,
}

/// How often something may still happen; `None` is any number of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Limits {
    pub(crate) crashes: Option<u8>,
    pub(crate) lost: Option<u8>,
    pub(crate) ticks: Option<u8>,
    pub(crate) operator: Option<u8>,
}

/// The protocol in a scene.
pub(crate) struct Protocol {
    pub(crate) decide: Decide,
    pub(crate) scene: Scene,
    ids: Vec<RecordId>,
}

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    pub(crate) now: i64,
    /// The last fencing token, the last letter's number, and the number of the ledger's opening.
    pub(crate) token: u64,
    pub(crate) letter: u64,
    pub(crate) session: u64,
    /// The number of the last claim.
    pub(crate) nonce: u64,
    /// Whether leases are by process.
    pub(crate) by_process: bool,
    /// The lives of each process, the last of which is today's: its instances have different names.
    pub(crate) runners: Vec<Vec<Runner>>,
    pub(crate) keys: Vec<Key>,
    pub(crate) left: Limits,
}

/// One life of a process, where leases are by process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Runner {
    /// Until when it lives, as the ledger knows.
    pub(crate) until: i64,
    /// Until when it lives, as it believes: it counts from when it asked for the beat.
    pub(crate) believes: i64,
    /// It was marked dead, and stays so.
    pub(crate) dead: bool,
}

/// One key: in the ledger, in the processes, and as an observer saw it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) record: Option<Record>,
    /// The open ones, and the last one that was closed, for a person who acts on an old page.
    pub(crate) letters: Vec<Letter>,
    /// What each process has in hand. In one process one call works on a key, and the others wait
    /// for it.
    pub(crate) hands: Vec<Hand>,
    pub(crate) history: History,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Letter {
    pub(crate) id: DeadLetterId,
    pub(crate) state: LetterState,
    pub(crate) reason: Reason,
}

/// What a process is doing with a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Hand {
    Empty,
    /// A body is running, and believes that its lease lasts until then.
    Body {
        token: u64,
        until: i64,
        acted: bool,
    },
    /// A claim was not answered: it will be asked again, for its body or to give it back. `granted`
    /// is its token once it was asked again to be given back.
    Asked {
        claim: Asked,
        granted: Option<u64>,
    },
    /// A body ended, and the ledger's answer to its report did not come: the report will be brought
    /// again.
    Owing {
        token: u64,
        ending: Ending,
    },
}

/// A claim: its number, the message, and the handler's version.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Asked {
    pub(crate) nonce: u64,
    pub(crate) fingerprint: u8,
    pub(crate) version: usize,
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ending {
    Done,
    Failed(AttemptOutcome),
    /// Its call was dropped before it could start.
    GivenBack,
}

impl Protocol {
    pub(crate) fn new(decide: Decide, scene: Scene) -> Self {
        let ids = (0..scene.keys.len()).map(|key| RecordId::new("h", key.to_string()));
        Self {
            decide,
            ids: ids.collect(),
            scene,
        }
    }

    pub(crate) fn start(&self) -> State {
        let key = Key {
            record: None,
            letters: Vec::new(),
            hands: vec![Hand::Empty; self.scene.processes],
            history: History::default(),
        };
        State {
            now: 0,
            token: 0,
            letter: 0,
            session: u64::from(self.scene.leases == Leases::None),
            nonce: 0,
            by_process: self.scene.leases == Leases::PerProcess,
            runners: vec![vec![Runner::born(0)]; self.scene.processes],
            keys: vec![key; self.scene.keys.len()],
            left: self.scene.left,
        }
    }

    /// The facts of a step of a key, for `process` if one asks.
    pub(crate) fn facts(&self, state: &State, key: usize, process: Option<usize>) -> Facts {
        self.facts_at(state, key, process, state.now)
    }

    /// Those of a later time.
    pub(crate) fn facts_at(
        &self,
        state: &State,
        key: usize,
        process: Option<usize>,
        now: i64,
    ) -> Facts {
        let letter = letter_id(state.letter + 1);
        // A late process is dead to the others only: it can still be the first to write.
        let dead = state.runner_of(key).is_some_and(|(owner, runner)| {
            let itself = process == Some(owner.0) && state.is_today(owner);
            runner.dead || (runner.until <= now && !itself)
        });
        Facts::new(time(now), state.token + 1, letter, "")
            .session(state.session)
            .leases(self.scene.leases != Leases::None)
            .dead_owner(self.scene.leases == Leases::PerProcess && dead)
    }

    /// What the ledger would answer.
    pub(crate) fn ask(&self, state: &State, key: usize, step: &Step, facts: &Facts) -> Decision {
        (self.decide)(&self.ids[key], state.keys[key].record.clone(), step, facts)
    }

    /// One step of the ledger, all of it or nothing. `heard` is whether a caller is told of the
    /// answer.
    pub(crate) fn apply(
        &self,
        state: &mut State,
        key: usize,
        process: Option<usize>,
        step: &Step,
        heard: bool,
    ) -> Reply {
        let facts = self.facts(state, key, process);
        let decision = self.ask(state, key, step, &facts);
        // No owner is taken for dead without being marked so first.
        if facts.dead_owner && decision.record != Change::Keep {
            state.retire(key);
        }
        let marked = state.runner_of(key).is_some_and(|(_, runner)| runner.dead);
        let at = &mut state.keys[key];
        at.history.observe(&Seen {
            step,
            reply: &decision.reply,
            wrote: decision.record != Change::Keep,
            heard,
            now: state.now,
            token: state.token,
            dead_owner: marked,
        });
        // People are told of every letter, and of none that was not written.
        let told = match (&decision.letter, &decision.reply) {
            (LetterChange::Open(letter), Reply::DeadLettered(told)) => letter == told,
            (LetterChange::Open(_), _) | (_, Reply::DeadLettered(_)) => false,
            _ => true,
        };
        at.history.holds(Law::Letters, told);
        match decision.record {
            Change::Keep => {}
            Change::Remove => at.record = None,
            Change::Put(record) => {
                at.record = Some(record);
                state.token += 1;
            }
        }
        match decision.letter {
            LetterChange::Keep => {}
            LetterChange::Open(letter) => {
                at.letters.push(Letter {
                    id: letter.id,
                    state: letter.state,
                    reason: letter.reason,
                });
                state.letter += 1;
            }
            LetterChange::Action { letter: id, act } => {
                at.letters
                    .retain(|letter| letter.state == LetterState::Open || letter.id == id);
                let (was_open, to) = match act.kind {
                    ActionKind::Redriven => (true, LetterState::Redriven),
                    ActionKind::Discarded => (true, LetterState::Discarded),
                    ActionKind::Restored => (false, LetterState::Open),
                    _ => (true, LetterState::Open),
                };
                let mut letters = at.letters.iter_mut();
                match letters.find(|letter| {
                    letter.id == id && (letter.state == LetterState::Open) == was_open
                }) {
                    Some(letter) => letter.state = to,
                    None => at.history.breaks(Law::Letters),
                }
            }
        }
        decision.reply
    }

    pub(crate) fn claim(&self, state: &State, process: usize, asked: Asked) -> Step {
        let Asked {
            nonce,
            fingerprint,
            version,
        } = asked;
        let (retries, bury) = self.scene.versions[version];
        let on_crash = if bury { OnCrash::Bury } else { OnCrash::Rerun };
        let claim = Claim::new(
            owner(process, state.life(process)),
            fingerprint.to_string().into_bytes(),
            Budget::new(retries, ticks(TTL)).on_crash(on_crash),
            ticks(LEASE),
        );
        let fingerprint = Fingerprint([fingerprint; 16]);
        Step::Claim(claim.nonce(nonce).fingerprint(fingerprint))
    }
}

impl Asked {
    /// A claim that was not asked before.
    pub(crate) fn new(state: &State, fingerprint: u8, version: usize) -> Self {
        Self {
            nonce: state.nonce + 1,
            fingerprint,
            version,
        }
    }
}

impl Runner {
    pub(crate) fn born(now: i64) -> Self {
        Self {
            until: now + BEAT,
            believes: now + BEAT,
            dead: false,
        }
    }
}

impl State {
    /// The number of a process's life.
    pub(crate) fn life(&self, process: usize) -> usize {
        self.runners[process].len() - 1
    }

    pub(crate) fn is_today(&self, (process, life): (usize, usize)) -> bool {
        self.life(process) == life
    }

    /// The life that holds the running claim of a key.
    pub(crate) fn runner_of(&self, key: usize) -> Option<((usize, usize), Runner)> {
        let owner = self.keys[key].record.as_ref()?.owner()?;
        let (process, life) = owner.split_once('.')?;
        let (process, life) = (process.parse().ok()?, life.parse().ok()?);
        Some(((process, life), *self.runners.get(process)?.get(life)?))
    }

    /// Marks the owner of a key's running claim dead.
    fn retire(&mut self, key: usize) {
        if let Some(((process, life), _)) = self.runner_of(key) {
            self.runners[process][life].dead = true;
        }
    }

    /// A process that was marked dead finds out, and goes on under another name. Its bodies run on,
    /// and believe in nothing.
    pub(crate) fn wake(&mut self, process: usize) {
        let lives = &mut self.runners[process];
        if !lives.last().unwrap().dead {
            return;
        }
        lives.push(Runner::born(self.now));
        for key in &mut self.keys {
            if let Hand::Body { until, .. } = &mut key.hands[process] {
                *until = self.now;
            }
        }
    }
}

/// A message that no handler can take.
pub(crate) fn bury(message: u8) -> Step {
    let origin = Origin::new("", "");
    let fingerprint = Fingerprint([message; 16]);
    Step::Bury(Box::new(Bury::new(
        fingerprint,
        message,
        unread(),
        origin,
        ticks(TTL),
    )))
}

pub(crate) fn unread() -> BuryCause {
    BuryCause::undecodable("", None)
}

/// The report of an attempt's end. Every start has a result of its own.
pub(crate) fn report(token: u64, ending: Ending) -> Step {
    match ending {
        Ending::Done => Step::Complete {
            token,
            result: StoredResult::json(token.to_string().into_bytes()),
            notes: Vec::new(),
        },
        Ending::GivenBack => Step::GiveBack { token },
        Ending::Failed(outcome) => Step::Fail(Failed::new(token, outcome, ticks(PAUSE))),
    }
}

/// The token of the start that a result came from.
pub(crate) fn start_of(result: &StoredResult) -> u64 {
    match result {
        StoredResult::Json { json, .. } => std::str::from_utf8(json).unwrap().parse().unwrap(),
        other => unreachable!("a result of the model is its JSON: {other:?}"),
    }
}

pub(crate) fn owner(process: usize, life: usize) -> std::sync::Arc<str> {
    format!("{process}.{life}").into()
}

pub(crate) fn time(tick: i64) -> Timestamp {
    Timestamp::from_second(tick).unwrap()
}

pub(crate) fn ticks(ticks: i64) -> Duration {
    Duration::from_secs(ticks.unsigned_abs())
}

pub(crate) fn letter_id(number: u64) -> DeadLetterId {
    DeadLetterId::from_bytes(u128::from(number).to_be_bytes())
}
