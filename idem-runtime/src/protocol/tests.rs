//! The invariants of the protocol, on random lives of one key: claims by two owners, reports with
//! any token there ever was, restarts, sweeps, what people do with letters, and a clock that goes
//! forward and back.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;

const TTL: Duration = Duration::from_secs(1000);

#[derive(Debug, Clone)]
enum Op {
    Claim {
        owner: u8,
        fingerprint: Option<u8>,
        retries: u32,
        bury: bool,
    },
    Renew {
        token: prop::sample::Index,
    },
    Complete {
        token: prop::sample::Index,
        result: u8,
    },
    Fail {
        token: prop::sample::Index,
        outcome: AttemptOutcome,
    },
    GiveBack {
        token: prop::sample::Index,
    },
    Redrive {
        letter: prop::sample::Index,
    },
    Discard {
        letter: prop::sample::Index,
    },
    Restore {
        letter: prop::sample::Index,
    },
    Bury {
        message: u8,
    },
    Forget {
        letter: prop::sample::Index,
    },
    Edit {
        letter: prop::sample::Index,
    },
    Sweep,
    Wait(i64),
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let outcome = prop_oneof![
        3 => Just(AttemptOutcome::Failed),
        1 => Just(AttemptOutcome::Permanent),
        1 => Just(AttemptOutcome::Panicked),
        1 => Just(AttemptOutcome::TimedOut),
        1 => Just(AttemptOutcome::Dropped),
    ];
    let token = any::<prop::sample::Index>;
    prop_oneof![
        6 => (0..2u8, prop::option::weighted(0.8, 0..2u8), 0..3u32, prop::bool::weighted(0.2))
            .prop_map(|(owner, fingerprint, retries, bury)| Op::Claim { owner, fingerprint, retries, bury }),
        1 => token().prop_map(|token| Op::Renew { token }),
        2 => (token(), any::<u8>()).prop_map(|(token, result)| Op::Complete { token, result }),
        5 => (token(), outcome).prop_map(|(token, outcome)| Op::Fail { token, outcome }),
        2 => token().prop_map(|token| Op::GiveBack { token }),
        1 => token().prop_map(|letter| Op::Redrive { letter }),
        1 => token().prop_map(|letter| Op::Discard { letter }),
        1 => token().prop_map(|letter| Op::Restore { letter }),
        1 => token().prop_map(|letter| Op::Edit { letter }),
        1 => (0..2u8).prop_map(|message| Op::Bury { message }),
        1 => token().prop_map(|letter| Op::Forget { letter }),
        1 => Just(Op::Sweep),
        4 => prop_oneof![Just(5), Just(20), Just(60), Just(-30), Just(1200)].prop_map(Op::Wait),
        1 => Just(Op::Restart),
    ]
}

/// One key's life, and what must be true of it.
struct Life {
    record: Option<Record>,
    letters: HashMap<DeadLetterId, DeadLetter>,
    issued: Vec<u64>,
    starts: u32,
    /// The largest budget that a claim of this generation gave.
    allowed: u32,
    /// The one result of this generation.
    result: Option<StoredResult>,
    now: Timestamp,
    session: u64,
    leases: bool,
    letter_ids: u128,
}

impl Life {
    fn new(leases: bool) -> Self {
        Self {
            record: None,
            letters: HashMap::new(),
            issued: vec![0],
            starts: 0,
            allowed: 0,
            result: None,
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            session: u64::from(!leases),
            leases,
            letter_ids: 0,
        }
    }

    fn step(&mut self, step: &Step) -> Reply {
        let id = RecordId::new("h", "k");
        self.letter_ids += 1;
        let facts = Facts {
            now: self.now,
            token: self.issued.last().unwrap() + 1,
            letter: DeadLetterId::from_bytes(self.letter_ids.to_be_bytes()),
            session: self.session,
            leases: self.leases,
            dead_owner: false,
            instance: "i".into(),
        };
        let before = self.record.clone();
        let decision = decide(&id, before.clone(), step, &facts);
        match decision.record {
            Change::Keep => {}
            Change::Remove => self.record = None,
            Change::Put(record) => self.record = Some(record),
        }
        match decision.letter {
            LetterChange::Keep => {}
            LetterChange::Open(letter) => {
                assert_eq!(
                    decision.reply,
                    Reply::DeadLettered(letter.clone()),
                    "people are told of every letter"
                );
                assert!(self.letters.insert(letter.id, *letter).is_none());
            }
            LetterChange::Action { letter, act } => {
                let letter = self
                    .letters
                    .get_mut(&letter)
                    .expect("only a written letter is acted on");
                let restored = act.kind == ActionKind::Restored;
                assert_eq!(letter.state == LetterState::Open, !restored);
                letter.act(*act);
            }
        }
        self.check(before.as_ref(), &decision.reply, step);
        decision.reply
    }

    fn check(&mut self, before: Option<&Record>, reply: &Reply, step: &Step) {
        let fresh = match before {
            None => true,
            Some(Record::Settled(settled)) => settled.expired(self.now),
            Some(Record::Live(_)) => false,
        };
        let buried = matches!((reply, step), (Reply::DeadLettered(_), Step::Bury(_)));
        if buried {
            let rearmed = matches!(
                before,
                Some(Record::Live(Live {
                    redriven: Some(_),
                    ..
                }))
            );
            assert!(
                fresh || rearmed,
                "I7: another message's record was buried over"
            );
        }
        if (fresh && matches!(reply, Reply::Run(_))) || buried {
            (self.starts, self.allowed, self.result) = (0, 0, None);
        }
        let known = before.filter(|_| !fresh).and_then(Record::fingerprint);
        if let (
            Step::Claim(Claim {
                fingerprint: Some(given),
                ..
            }),
            Some(known),
        ) = (step, known)
        {
            assert_eq!(
                *reply == Reply::KeyReused,
                known != *given,
                "a key belongs to one message"
            );
        }
        match (reply, step) {
            (Reply::Run(started), Step::Claim(claim)) => {
                assert!(
                    fresh || matches!(before, Some(Record::Live(_))),
                    "I2: a settled message ran"
                );
                assert!(
                    started.token > *self.issued.last().unwrap(),
                    "tokens only grow"
                );
                self.issued.push(started.token);
                self.starts += 1;
                self.allowed = self.allowed.max(claim.budget.attempts());
                assert!(
                    self.starts <= self.allowed,
                    "I3: {} starts of {}",
                    self.starts,
                    self.allowed
                );
                assert_eq!(started.number, self.starts, "every start is counted");
                if let Some(Record::Live(Live {
                    phase:
                        Phase::Running {
                            owner,
                            session,
                            until,
                            ..
                        },
                    ..
                })) = before
                {
                    let gone = *owner == claim.owner
                        || *session != self.session
                        || (self.leases && self.now >= *until);
                    assert!(gone, "I1: two live claims");
                }
            }
            (Reply::Recorded, Step::Complete { token, result, .. }) => {
                assert_eq!(
                    token,
                    self.issued.last().unwrap(),
                    "only the last claim can complete"
                );
                let recorded = self.result.get_or_insert_with(|| result.clone());
                if matches!(before, Some(Record::Live(_))) {
                    assert_eq!(recorded, result);
                }
            }
            (Reply::Waiting { .. } | Reply::DeadLettered(_), Step::Fail(failed)) => {
                assert_eq!(
                    failed.token,
                    *self.issued.last().unwrap(),
                    "only the last claim can fail"
                );
            }
            (Reply::Recorded, Step::GiveBack { token }) => {
                assert_eq!(
                    token,
                    self.issued.last().unwrap(),
                    "only the last claim can be given back"
                );
                if let Some(Record::Live(Live {
                    phase: Phase::Running { .. },
                    past,
                    ..
                })) = before
                {
                    self.starts -= 1;
                    let after = self.record.clone().and_then(Record::live);
                    assert_eq!(
                        after.map_or(0, |after| after.past.len()),
                        past.len(),
                        "it was no attempt"
                    );
                }
            }
            (Reply::DeadLettered(_), Step::Claim(_)) => {
                let ran = matches!(
                    before,
                    Some(Record::Live(Live {
                        phase: Phase::Running { .. },
                        ..
                    }))
                );
                assert!(
                    ran,
                    "what waits has an attempt left, whatever a claim allows"
                );
            }
            (Reply::DeadLettered(_), Step::Bury(_)) => {
                self.issued.push(self.issued.last().unwrap() + 1);
            }
            (Reply::Recorded, Step::Restore { .. }) => {
                // As many starts as the letter tells of.
                let Some(Record::Settled(Settled {
                    end: Settlement::Dead(letter),
                    ..
                })) = &self.record
                else {
                    panic!("a restored letter's record is {:?}", self.record)
                };
                self.starts = u32::try_from(self.letters[letter].attempts.len()).unwrap();
                self.issued.push(self.issued.last().unwrap() + 1);
            }
            (Reply::Recorded, Step::Redrive { .. }) => {
                (self.starts, self.allowed, self.result) = (0, 0, None);
                self.issued.push(self.issued.last().unwrap() + 1);
            }
            (Reply::Replay { result, .. }, _) => {
                assert_eq!(Some(result), self.result.as_ref(), "I6: another result");
            }
            (
                Reply::LeaseLost | Reply::LetterNotOpen | Reply::KeyReused | Reply::Busy { .. },
                _,
            ) => {
                assert_eq!(self.record.as_ref(), before, "a refusal writes nothing");
            }
            _ => {}
        }
        let open: Vec<_> = self
            .letters
            .values()
            .filter(|letter| letter.state == LetterState::Open)
            .collect();
        match &self.record {
            Some(Record::Settled(Settled {
                end: Settlement::Dead(id),
                ..
            })) => {
                assert_eq!(
                    open.iter().map(|letter| letter.id).collect::<Vec<_>>(),
                    [*id],
                    "I4: one open letter"
                );
                assert_eq!(
                    open[0].attempts.is_empty(),
                    self.starts == 0,
                    "every start is told of"
                );
            }
            _ => assert!(
                open.is_empty(),
                "I4: a letter of a message that is not dead"
            ),
        }
    }

    fn go(&mut self, op: &Op) {
        let letter = |index: &prop::sample::Index, letters: &HashMap<DeadLetterId, DeadLetter>| {
            let mut ids: Vec<_> = letters.keys().copied().collect();
            ids.sort_unstable();
            (!ids.is_empty()).then(|| *index.get(&ids))
        };
        match op {
            Op::Claim {
                owner,
                fingerprint,
                retries,
                bury,
            } => {
                self.step(&Step::Claim(Claim {
                    owner: format!("{owner}").into(),
                    nonce: 0,
                    fingerprint: fingerprint.map(|byte| Fingerprint([byte; 16])),
                    payload: b"{}".as_slice().into(),
                    redacted: None,
                    sealed: None,
                    budget: Budget {
                        retries: *retries,
                        on_crash: if *bury { OnCrash::Bury } else { OnCrash::Rerun },
                        ttl: TTL,
                    },
                    lease: Duration::from_secs(30),
                    origin: None,
                    trace: None,
                }));
            }
            Op::Renew { token } => {
                let token = *token.get(&self.issued);
                self.step(&Step::Renew {
                    token,
                    lease: Duration::from_secs(30),
                });
            }
            Op::Complete { token, result } => {
                let token = *token.get(&self.issued);
                self.step(&Step::Complete {
                    token,
                    result: StoredResult::json([*result]),
                    notes: Vec::new(),
                });
            }
            Op::Fail { token, outcome } => {
                let token = *token.get(&self.issued);
                let pause = Duration::from_secs(10);
                self.step(&Step::Fail(Failed {
                    token,
                    outcome: *outcome,
                    error: None,
                    pause,
                }));
            }
            Op::GiveBack { token } => {
                let token = *token.get(&self.issued);
                self.step(&Step::GiveBack { token });
            }
            Op::Redrive { letter: index } => {
                if let Some(letter) = letter(index, &self.letters) {
                    let cause = self.letters[&letter].error.clone();
                    let mut payload = RedrivePayload::new(b"{}".as_slice());
                    payload.cause = cause.map(|error| BuryCause::undecodable(error, None));
                    self.step(&Step::Redrive {
                        letter,
                        payload: Some(Box::new(payload)),
                        by: Actor::default(),
                    });
                }
            }
            Op::Discard { letter: index } => {
                if let Some(letter) = letter(index, &self.letters) {
                    self.step(&Step::Discard {
                        letter,
                        by: Actor::default(),
                    });
                }
            }
            Op::Restore { letter: index } => {
                if let Some(letter) = letter(index, &self.letters) {
                    self.step(&Step::Restore {
                        letter,
                        by: Actor::default(),
                    });
                }
            }
            Op::Edit { letter: index } => {
                if let Some(letter) = letter(index, &self.letters) {
                    self.step(&Step::Edit {
                        letter,
                        sealed: None,
                        payload: 7.into(),
                        by: Actor::default(),
                    });
                }
            }
            Op::Bury { message } => {
                self.step(&Step::Bury(Box::new(Bury {
                    fingerprint: Fingerprint([*message; 16]),
                    payload: "{".into(),
                    cause: BuryCause::undecodable("unreadable", None),
                    redacted: Vec::new(),
                    sealed: None,
                    origin: Origin::new("rabbitmq", "orders"),
                    ttl: TTL,
                })));
            }
            Op::Forget { letter: index } => {
                if let Some(letter) = letter(index, &self.letters) {
                    self.step(&Step::Redrive {
                        letter,
                        payload: None,
                        by: Actor::default(),
                    });
                }
            }
            Op::Sweep => drop(self.step(&Step::Sweep)),
            Op::Wait(seconds) => self.now += SignedDuration::from_secs(*seconds),
            Op::Restart if !self.leases => self.session += 1,
            Op::Restart => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_in_a_ledger_of_one_process(ops in prop::collection::vec(op(), 0..80)) {
        let mut life = Life::new(false);
        ops.iter().for_each(|op| life.go(op));
    }

    #[test]
    fn the_invariants_hold_in_a_ledger_with_leases(ops in prop::collection::vec(op(), 0..80)) {
        let mut life = Life::new(true);
        ops.iter().for_each(|op| life.go(op));
    }

    /// However a message's life went, enough restarts and sweeps bring it to an end that a person
    /// knows of.
    #[test]
    fn nothing_is_lost(ops in prop::collection::vec(op(), 1..40)) {
        let mut life = Life::new(false);
        ops.iter().for_each(|op| life.go(op));
        let before = life.record.is_some();
        life.go(&Op::Restart);
        life.go(&Op::Sweep);
        life.now += SignedDuration::from_secs(100_000);
        life.go(&Op::Sweep);
        match &life.record {
            // Absent: never claimed, or expired after a result or a discard.
            None => prop_assert!(!before || life.result.is_some() || !life.letters.is_empty()),
            Some(Record::Settled(settled)) => prop_assert!(matches!(settled.end, Settlement::Dead(_))),
            Some(live) => prop_assert!(false, "forgotten: {live:?}"),
        }
    }
}

/// A done record as releases before versions wrote it.
const WITHOUT_VERSION: &[u8] = &[
    1, 0x82, 1, 0x81, 0x86, 7, 0xf6, 0, 0, 1, 0x82, 0, 0x81, 0x82, 0, 0x81, 0x41, b'7',
];

#[test]
fn a_result_without_a_version_is_read_and_written_as_it_was() {
    let settled = |result| {
        let end = Settlement::Done(result);
        let at = Timestamp::UNIX_EPOCH;
        Record::Settled(Settled::new(7, at, Duration::ZERO, 1, end))
    };
    let first = settled(StoredResult::json(*b"7"));
    assert_eq!(Record::decode(WITHOUT_VERSION).unwrap(), first);
    assert_eq!(first.encode().unwrap(), WITHOUT_VERSION);
    let second = settled(StoredResult::Json {
        json: (*b"7").into(),
        version: 2,
        trace: None,
    });
    let stored = second.encode().unwrap();
    assert_eq!(Record::decode(&stored).unwrap(), second);
    assert_eq!(stored.len(), WITHOUT_VERSION.len() + 1);
    let traced = settled(StoredResult::Json {
        json: (*b"7").into(),
        version: 2,
        trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            .parse()
            .ok(),
    });
    let traced_stored = traced.encode().unwrap();
    assert_eq!(Record::decode(&traced_stored).unwrap(), traced);
    assert_eq!(
        traced_stored.len(),
        stored.len() + 27,
        "26 bytes and their length"
    );
}

#[test]
fn a_check_that_is_left_out_is_found() {
    // The seeded bug: a completion with a stale token that is let through.
    let mut life = Life::new(true);
    life.go(&Op::Claim {
        owner: 0,
        fingerprint: None,
        retries: 2,
        bury: false,
    });
    life.go(&Op::Wait(60));
    life.go(&Op::Claim {
        owner: 1,
        fingerprint: None,
        retries: 2,
        bury: false,
    });
    let stale = life.issued[1];
    let let_through = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let step = Step::Complete {
            token: stale,
            result: StoredResult::json([]),
            notes: Vec::new(),
        };
        let before = life.record.clone();
        life.check(before.as_ref(), &Reply::Recorded, &step);
    }));
    assert!(let_through.is_err(), "the check would not have seen it");
}
