//! Random jobs of every kind, many to a group and on few keys, beside a model that makes one step
//! after the other. After each group the store must hold what the model holds, and what the
//! ledger's own numbers say.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use minicbor::bytes::ByteVec;
use proptest::prelude::*;
use tokio::sync::oneshot;

use super::super::counts::{counts, listed_hashes, stored_hashes};
use super::super::layout::{
    BUCKET, CHUNK, ClosedBucket, DEAD, HASHES, LIVE, NOTE, SETTLED, bucket_in,
};
use super::super::opening::Opened;
use super::super::recovery;
use super::super::spill::Spill;
use super::super::verify;
use super::*;
use crate::clock;
use crate::ledger::folder::Folder;
use crate::protocol::{
    Actor, AttemptOutcome, Budget, Bury, BuryCause, Claim, Failed, Fingerprint, Live, Origin,
    RedrivePayload, Settled, Settlement, StoredResult,
};

const RETENTION: Duration = Duration::from_secs(2000);

#[derive(Debug, Clone)]
enum Op {
    Claim {
        key: u8,
        owner: u8,
        retries: u32,
        ttl: u64,
        size: usize,
    },
    Complete {
        key: u8,
        size: usize,
        note: Option<u8>,
    },
    Fail {
        key: u8,
        outcome: AttemptOutcome,
    },
    GiveBack {
        key: u8,
    },
    Redrive {
        letter: prop::sample::Index,
        waits: bool,
    },
    Discard {
        letter: prop::sample::Index,
    },
    Restore {
        letter: prop::sample::Index,
    },
    Edit {
        letter: prop::sample::Index,
        size: usize,
    },
    Bury {
        key: u8,
        ttl: u64,
    },
    Issue {
        key: u8,
        ttl: u64,
    },
    Note {
        note: u8,
        size: Option<usize>,
    },
    /// A step of the sweep of live records.
    Sweep {
        key: u8,
    },
    Expire {
        limit: usize,
    },
}

/// What comes before a group: so much time, and perhaps another opening, with the witness or
/// without.
type Pause = (u64, Option<bool>);

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..3u8;
    let letter = any::<prop::sample::Index>;
    let ttl = || prop::sample::select(vec![0, 100, 1000, 5000]);
    // Inline, and in two chunks.
    let size = || prop_oneof![3 => Just(10usize), 1 => Just(6000)];
    let outcome = prop::sample::select(vec![AttemptOutcome::Failed, AttemptOutcome::Permanent]);
    prop_oneof![
        4 => (key(), 0..2u8, 0..2u32, ttl(), size())
            .prop_map(|(key, owner, retries, ttl, size)| Op::Claim { key, owner, retries, ttl, size }),
        2 => (key(), size(), prop::option::of(0..2u8)).prop_map(|(key, size, note)| Op::Complete { key, size, note }),
        3 => (key(), outcome).prop_map(|(key, outcome)| Op::Fail { key, outcome }),
        1 => key().prop_map(|key| Op::GiveBack { key }),
        2 => (letter(), any::<bool>()).prop_map(|(letter, waits)| Op::Redrive { letter, waits }),
        3 => letter().prop_map(|letter| Op::Discard { letter }),
        3 => letter().prop_map(|letter| Op::Restore { letter }),
        1 => (letter(), size()).prop_map(|(letter, size)| Op::Edit { letter, size }),
        2 => (key(), ttl()).prop_map(|(key, ttl)| Op::Bury { key, ttl }),
        1 => (key(), ttl()).prop_map(|(key, ttl)| Op::Issue { key, ttl }),
        1 => (0..2u8, prop::option::of(size())).prop_map(|(note, size)| Op::Note { note, size }),
        1 => key().prop_map(|key| Op::Sweep { key }),
        3 => prop::sample::select(vec![1, 2, 1000]).prop_map(|limit| Op::Expire { limit }),
    ]
}

fn group() -> impl Strategy<Value = (Pause, Vec<Op>)> {
    let wait = prop::sample::select(vec![0, 0, 1, 70, 1000, 3000]);
    (
        (wait, prop::option::weighted(0.1, any::<bool>())),
        prop::collection::vec(op(), 0..24),
    )
}

/// What the protocol says, with nothing in between.
#[derive(Default)]
struct Model {
    records: HashMap<RecordId, Record>,
    letters: BTreeMap<DeadLetterId, DeadLetter>,
    notes: BTreeMap<String, Vec<u8>>,
}

impl Model {
    fn step(&mut self, id: &RecordId, step: &Step, facts: &Facts) -> Reply {
        let decision = decide(id, self.records.get(id).cloned(), step, facts);
        if let LetterChange::Action { letter, act } = &decision.letter {
            match self.letters.get_mut(letter) {
                Some(letter) => letter.act(Action::clone(act)),
                None => return Reply::LetterNotOpen,
            }
        }
        self.note(decision.notes(step));
        match decision.record {
            Change::Keep => {}
            Change::Remove => drop(self.records.remove(id)),
            Change::Put(record) => drop(self.records.insert(id.clone(), record)),
        }
        if let LetterChange::Open(letter) = decision.letter {
            self.note(&[NoteChange::put(unnotified_key(letter.id), [])]);
            self.letters.insert(letter.id, *letter);
        }
        decision.reply
    }

    fn note(&mut self, changes: &[NoteChange]) {
        for change in changes.iter().cloned() {
            match change {
                NoteChange::Put { key, value } => drop(self.notes.insert(key, value)),
                NoteChange::Delete { key } => drop(self.notes.remove(&key)),
            }
        }
    }

    fn expire(&mut self, letters: &[Vec<u8>], now: Timestamp) {
        let over = self.letters.extract_if(.., |id, letter| {
            letters.contains(&letter_key(CLOSED_LETTER, *id))
                && letter
                    .closed_at
                    .is_some_and(|closed| now >= clock::after(closed, RETENTION))
        });
        for (id, _) in over {
            self.notes.remove(&unnotified_key(id));
        }
    }

    /// A record, unless it has expired.
    fn record(&self, id: &RecordId, now: Timestamp) -> Option<&Record> {
        self.records.get(id).filter(|record| !expired(record, now))
    }
}

fn expired(record: &Record, now: Timestamp) -> bool {
    matches!(record, Record::Settled(settled) if settled.expired(now))
}

/// A ledger without its committer: the test says which jobs make a group.
struct Ledger {
    folder: Folder,
    store: Store,
    state: State,
    index: Index,
    running: RwLock<Running>,
}

impl Ledger {
    fn open(path: &Path, acknowledged: Option<u64>) -> Self {
        let folder = Folder::hold(path, crate::ledger::Engine::Sled).unwrap();
        let (store, _) = recovery::begin(&folder, 1 << 20, acknowledged).unwrap();
        let Opened {
            mut state,
            mut running,
            filters,
            closed,
        } = Opened::read(&store, path, acknowledged).unwrap();
        assert_eq!(verify::at_open(&store, closed).unwrap(), []);
        state.begin(&store, &mut running).unwrap();
        let index = Index::new(state.meta.seed, filters);
        Self {
            folder,
            store,
            state,
            index,
            running: RwLock::new(running),
        }
    }

    /// Closes it, and opens it again; without its witness, so that its numbers and buckets are made
    /// anew of what is there.
    fn reopen(self, witness: bool) -> Self {
        let (path, group) = (self.folder.path().to_owned(), self.state.meta.group);
        drop(self);
        Self::open(&path, witness.then_some(group))
    }

    fn record(&self, id: &RecordId) -> Option<Record> {
        let record_key = RecordKey::new(id);
        let claimed = self
            .running
            .read()
            .get(&record_key)
            .map(|claim| Record::Live(claim.live.clone()));
        let own = |kind| {
            self.store
                .get::<Live>(&record_key.in_kind(kind))
                .unwrap()
                .map(Record::Live)
        };
        let dead = || {
            self.store
                .get::<Settled>(&record_key.in_kind(DEAD))
                .unwrap()
                .map(Record::Settled)
        };
        let settled = || self.index.find_surely(&self.store, &record_key).unwrap();
        claimed
            .or_else(|| own(LIVE))
            .or_else(dead)
            .or_else(|| settled().map(|found| Record::Settled(found.settled)))
    }

    fn keys(&self, kind: u8) -> Vec<Vec<u8>> {
        self.store
            .rows(&[kind], &[], usize::MAX)
            .unwrap()
            .into_iter()
            .map(|(key, _)| key.to_vec())
            .collect()
    }
}

/// A ledger, the model beside it, and what the jobs refer to.
struct World {
    ledger: Ledger,
    model: Model,
    now: Timestamp,
    /// The last claim of each key.
    tokens: HashMap<u8, u64>,
    letters: Vec<(DeadLetterId, RecordId)>,
    letter_ids: u128,
}

impl World {
    fn group(&mut self, ops: &[Op]) {
        // The sweep reads what there is before the group is made.
        let closed = self.ledger.keys(CLOSED_LETTER);
        let Ledger {
            store,
            state,
            index,
            running,
            ..
        } = &mut self.ledger;
        let session = state.meta.session;
        let mut group = Group::new(store, index, running, state, self.now);
        for op in ops {
            self.letter_ids += 1;
            let letter = DeadLetterId::from_bytes(self.letter_ids.to_be_bytes());
            let mut facts = Facts {
                now: self.now,
                token: 0,
                letter,
                session,
                leases: false,
                dead_owner: false,
                instance: "test".into(),
            };
            match op {
                Op::Expire { limit } => {
                    self.model.expire(&closed, self.now);
                    let (limit, letters, retention, done) =
                        (*limit, closed.clone(), RETENTION, oneshot::channel().0);
                    group
                        .take(
                            Job::Expire {
                                limit,
                                letters,
                                retention,
                                done,
                            },
                            &mut facts,
                        )
                        .unwrap();
                }
                Op::Note { note, size } => {
                    let key = format!("notes/{note}");
                    let changes = vec![match *size {
                        Some(size) => NoteChange::put(key, vec![b'n'; size]),
                        None => NoteChange::delete(key),
                    }];
                    self.model.note(&changes);
                    group
                        .take(
                            Job::Notes {
                                changes,
                                expected: Vec::new(),
                                done: oneshot::channel().0,
                            },
                            &mut facts,
                        )
                        .unwrap();
                }
                op => {
                    let Some((id, step)) = step(op, &self.tokens, &self.letters) else {
                        continue;
                    };
                    let before = self.model.records.get(&id);
                    let absent = self.model.record(&id, self.now).is_none();
                    if matches!(op, Op::Sweep { .. }) && !matches!(before, Some(Record::Live(_))) {
                        continue;
                    }
                    let record_key = RecordKey::new(&id);
                    let job = Job::Step {
                        id: id.clone(),
                        record_key,
                        step: step.clone(),
                        done: oneshot::channel().0,
                    };
                    let Answer::Step(_, reply) = group.take(job, &mut facts).unwrap() else {
                        unreachable!()
                    };
                    let expected = self.model.step(&id, &step, &facts);
                    match &reply {
                        Ok(Reply::Run(started)) => {
                            self.tokens.insert(number_of(&id), started.token);
                        }
                        Ok(Reply::DeadLettered(letter)) => self.letters.push((letter.id, id)),
                        _ => {}
                    }
                    // A result that has expired may still be there, and its report said again.
                    if !(absent && matches!(op, Op::Complete { .. })) {
                        assert_eq!(reply.unwrap(), expected, "{op:?}");
                    }
                }
            }
        }
        if let Some(Finished {
            batch,
            moves,
            closed,
            ..
        }) = group.finish().unwrap()
        {
            store.write(batch).unwrap();
            moves.apply(&mut running.write());
            closed.into_iter().for_each(|bucket| index.close(bucket));
        }
    }

    /// The store holds what the model holds, and nothing besides.
    fn check(&self) {
        let Ledger { store, state, .. } = &self.ledger;
        assert_eq!(counts(store).unwrap(), state.meta.counts);
        for key in 0..3 {
            let found = self
                .ledger
                .record(&id(key))
                .filter(|record| !expired(record, self.now));
            assert_eq!(
                found.as_ref(),
                self.model.record(&id(key), self.now),
                "key {key}"
            );
        }
        let mut letters = BTreeMap::new();
        for kind in [OPEN_LETTER, CLOSED_LETTER] {
            for key in self.ledger.keys(kind) {
                let letter = store.get::<DeadLetter>(&key).unwrap().unwrap();
                assert_eq!(kind_of(&letter), kind);
                letters.insert(letter.id, letter);
            }
        }
        assert_eq!(letters, self.model.letters);
        let open: HashSet<_> = letters
            .values()
            .filter(|letter| kind_of(letter) == OPEN_LETTER)
            .map(|it| it.id)
            .collect();
        let dead: Vec<_> = self
            .ledger
            .keys(DEAD)
            .iter()
            .map(|key| store.get::<Settled>(key).unwrap().unwrap())
            .collect();
        let dead_of = |dead: &Settled| {
            if let Settlement::Dead(letter) = dead.end {
                letter
            } else {
                panic!("{dead:?}")
            }
        };
        assert_eq!(
            dead.len(),
            open.len(),
            "each dead record has one open letter"
        );
        assert_eq!(dead.iter().map(dead_of).collect::<HashSet<_>>(), open);
        let notes = self.ledger.keys(NOTE).into_iter().map(|key| {
            let value = store.get::<ByteVec>(&key).unwrap().unwrap();
            (String::from_utf8(key[1..].to_vec()).unwrap(), value.into())
        });
        assert_eq!(notes.collect::<BTreeMap<_, Vec<u8>>>(), self.model.notes);
        self.check_buckets();
        let values = [LIVE, DEAD, OPEN_LETTER, CLOSED_LETTER, NOTE, SETTLED];
        let rows = values
            .iter()
            .flat_map(|kind| store.rows(&[*kind], &[], usize::MAX).unwrap());
        let chunks: u32 = rows
            .filter_map(|(_, value)| Spill::read(&value))
            .map(|spill| spill.chunks)
            .sum();
        assert_eq!(
            self.ledger.keys(CHUNK).len(),
            chunks as usize,
            "chunks that belong to no value"
        );
    }

    fn check_buckets(&self) {
        let Ledger { store, state, .. } = &self.ledger;
        let mut known = HashSet::new();
        for open in &state.meta.open {
            known.insert(open.id);
            let stored = stored_hashes(store, open.id, state.meta.seed).unwrap();
            assert_eq!(
                stored.len() as u64,
                open.stats.count,
                "open bucket {}",
                open.id
            );
        }
        for key in self.ledger.keys(BUCKET) {
            let bucket = store.get::<ClosedBucket>(&key).unwrap().unwrap();
            let id = bucket_in(&key);
            assert!(known.insert(id), "bucket {id} is open and closed");
            if !bucket.dropped {
                let (mut stored, mut listed) = (
                    stored_hashes(store, id, state.meta.seed).unwrap(),
                    listed_hashes(store, id).unwrap(),
                );
                stored.sort_unstable();
                listed.sort_unstable();
                assert_eq!(
                    (stored.len() as u64, &stored),
                    (bucket.stats.count, &listed),
                    "closed bucket {id}"
                );
            }
        }
        for kind in [SETTLED, HASHES] {
            let stray = self
                .ledger
                .keys(kind)
                .into_iter()
                .find(|key| !known.contains(&bucket_in(key)));
            assert_eq!(stray, None, "a row of a bucket that is gone");
        }
    }
}

fn id(key: u8) -> RecordId {
    RecordId::new("h", key.to_string())
}

fn number_of(id: &RecordId) -> u8 {
    id.key.parse().unwrap()
}

fn text(size: usize) -> serde_json::Value {
    "x".repeat(size).into()
}

/// Returns an operation's step and its record; `None` if there is no letter yet.
fn step(
    op: &Op,
    tokens: &HashMap<u8, u64>,
    letters: &[(DeadLetterId, RecordId)],
) -> Option<(RecordId, Step)> {
    let by = Actor::default();
    let token = |key: &u8| tokens.get(key).copied().unwrap_or(0);
    let chosen =
        |index: &prop::sample::Index| (!letters.is_empty()).then(|| index.get(letters).clone());
    Some(match op {
        Op::Claim {
            key,
            owner,
            retries,
            ttl,
            size,
        } => {
            let payload = serde_json::json!({ "text": text(*size) }).to_string();
            let claim = Claim::new(
                format!("owner {owner}"),
                payload.into_bytes(),
                Budget::new(*retries, Duration::from_secs(*ttl)),
                Duration::from_secs(30),
            );
            (id(*key), Step::Claim(claim))
        }
        Op::Complete { key, size, note } => {
            let result = StoredResult::json(text(*size).to_string().into_bytes());
            let notes = note
                .iter()
                .map(|note| NoteChange::put(format!("notes/{note}"), vec![b'r'; *size]))
                .collect();
            (
                id(*key),
                Step::Complete {
                    token: token(key),
                    result,
                    notes,
                },
            )
        }
        Op::Fail { key, outcome } => {
            let failed = Failed::new(token(key), *outcome, Duration::from_secs(1));
            (id(*key), Step::Fail(failed.error("no")))
        }
        Op::GiveBack { key } => (id(*key), Step::GiveBack { token: token(key) }),
        Op::Redrive { letter, waits } => {
            let (letter, id) = chosen(letter)?;
            let payload = waits.then(|| Box::new(RedrivePayload::new(b"{}".as_slice())));
            (
                id,
                Step::Redrive {
                    letter,
                    payload,
                    by,
                },
            )
        }
        Op::Discard { letter } => {
            chosen(letter).map(|(letter, id)| (id, Step::Discard { letter, by }))?
        }
        Op::Restore { letter } => {
            chosen(letter).map(|(letter, id)| (id, Step::Restore { letter, by }))?
        }
        Op::Edit { letter, size } => {
            let (letter, id) = chosen(letter)?;
            (
                id,
                Step::Edit {
                    letter,
                    sealed: None,
                    payload: text(*size).into(),
                    by,
                },
            )
        }
        Op::Bury { key, ttl } => {
            let buried = Bury {
                fingerprint: Fingerprint([0; 16]),
                payload: "{".into(),
                cause: BuryCause::undecodable("unreadable", None),
                redacted: Vec::new(),
                sealed: None,
                origin: Origin::new("rabbitmq", "orders"),
                ttl: Duration::from_secs(*ttl),
            };
            (id(*key), Step::Bury(Box::new(buried)))
        }
        Op::Issue { key, ttl } => (
            id(*key),
            Step::Issue {
                ttl: Duration::from_secs(*ttl),
            },
        ),
        Op::Sweep { key } => (id(*key), Step::Sweep),
        Op::Note { .. } | Op::Expire { .. } => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_group_sees_what_its_own_jobs_did(groups in prop::collection::vec(group(), 1..12)) {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World {
            ledger: Ledger::open(folder.path(), None),
            model: Model::default(),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            tokens: HashMap::new(),
            letters: Vec::new(),
            letter_ids: 0,
        };
        for ((wait, reopens), ops) in &groups {
            world.now = clock::after(world.now, Duration::from_secs(*wait));
            if let Some(witness) = *reopens {
                world.ledger = world.ledger.reopen(witness);
            }
            world.group(ops);
            world.check();
        }
        world.ledger = world.ledger.reopen(true);
        world.check();
    }
}

impl Ledger {
    /// Issues a key in a group of its own.
    fn issue(&mut self, key: u64, ttl: Duration, now: Timestamp) {
        let Self {
            store,
            state,
            index,
            running,
            ..
        } = self;
        let letter = DeadLetterId::from_bytes([0; 16]);
        let mut facts = Facts {
            now,
            token: 0,
            letter,
            session: 1,
            leases: false,
            dead_owner: false,
            instance: "test".into(),
        };
        let id = RecordId::new("h", key.to_string());
        let job = Job::Step {
            record_key: RecordKey::new(&id),
            id,
            step: Step::Issue { ttl },
            done: oneshot::channel().0,
        };
        let mut group = Group::new(store, index, running, state, now);
        assert!(matches!(
            group.take(job, &mut facts),
            Ok(Answer::Step(_, Ok(Reply::Recorded)))
        ));
        let Finished { batch, closed, .. } = group.finish().unwrap().unwrap();
        store.write(batch).unwrap();
        closed.into_iter().for_each(|bucket| index.close(bucket));
    }
}

#[test]
fn times_to_live_of_all_lengths_in_turns_close_no_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path(), None);
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    for round in 0..3 {
        for bits in 0..50 {
            ledger.issue(50 * round + bits, Duration::from_millis(1 << bits), now);
        }
    }
    assert_eq!(
        (
            ledger.state.meta.open.len(),
            ledger.state.meta.counts.buckets
        ),
        (16, 0)
    );
    let ledger = ledger.reopen(true);
    let stored: u64 = ledger
        .state
        .meta
        .open
        .iter()
        .map(|open| open.stats.count)
        .sum();
    assert_eq!((stored, ledger.keys(BUCKET).len()), (150, 0));
}

#[test]
fn a_bucket_that_closes_with_few_results_takes_little_memory() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path(), None);
    let start = Timestamp::from_second(1_800_000_000).unwrap();
    ledger.issue(0, 20 * DAY, start);
    let one = ledger.index.bits();
    for key in 1..5 {
        // The bucket before is old enough to be closed after this one.
        ledger.issue(key, 20 * DAY, clock::after(start, 4 * DAY * key as u32));
    }
    assert!(ledger.state.meta.counts.buckets >= 2);
    assert!(
        ledger.index.bits() < 2 * one,
        "{} bits, and {one} for one open bucket",
        ledger.index.bits()
    );
    let record_keys = (0..5).map(|key: u64| RecordKey::new(&RecordId::new("h", key.to_string())));
    record_keys.for_each(|record_key| {
        assert!(
            ledger
                .index
                .find_surely(&ledger.store, &record_key)
                .unwrap()
                .is_some()
        );
    });
}
