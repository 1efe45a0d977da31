//! The journal: the claims and ends of each group, in a ring of small entries that overwrite each
//! other.
//!
//! Most messages are claimed, run and done within moments. Their claims stand only here, many to an
//! entry, so that a message costs sled one write of its own, its result's. A claim whose entry's
//! turn comes to be overwritten moves to a place of its own. Every group writes at least one entry:
//! a gap in their numbers is a write that got lost.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use minicbor::bytes::{ByteSlice, ByteVec};
use minicbor::{Decode, Encode};

use super::batch::Batch;
use super::layout::{LIVE, Meta, RecordKey, journal_key};
use super::store::LARGEST_INLINE;
use crate::ledger::LedgerError;
use crate::protocol::encoding::{decode, encode};
use crate::protocol::{Live, Phase};

/// How many entries there are: more than a group of the largest claims needs.
pub(super) const RING: u64 = 2 * super::queue::JOBS_A_GROUP as u64;
/// A claim that takes more bytes has its own place from the start.
const LARGEST_CLAIM: usize = 3072;
/// How many bytes of claims and ends an entry takes. The rest is the ledger's numbers: some 100
/// bytes, and 40 for each open bucket; all of it is to stay inline.
const ROOM: usize = LARGEST_INLINE - 896;

/// One entry.
#[derive(Debug, Encode, Decode)]
pub(crate) struct Entry {
    /// From 1. Its place in the ring follows from it.
    #[n(0)]
    pub(super) number: u64,
    #[n(1)]
    pub(super) group: u64,
    /// The ledger's numbers, in the group's last entry.
    #[n(2)]
    pub(super) meta: Option<Meta>,
    /// The claims that were granted, each a [`Live`] record.
    #[n(3)]
    pub(super) claims: Vec<ByteVec>,
    /// The tokens of claims that stand in the journal no more.
    #[n(4)]
    pub(super) ended: Vec<u64>,
}

/// A running claim that stands in the journal.
#[derive(Debug, Clone)]
pub(super) struct JournalClaim {
    pub(super) live: Live,
    /// The entry that has it.
    entry: u64,
}

impl JournalClaim {
    /// Returns whether it was claimed in this opening of the ledger.
    pub(super) fn is_of(&self, opening: u64) -> bool {
        matches!(self.live.phase, Phase::Running { session, .. } if session == opening)
    }
}

/// The running claims that stand in the journal.
pub(super) type Running = HashMap<RecordKey, JournalClaim, foldhash::fast::RandomState>;

/// The ring's state.
#[derive(Default)]
pub(super) struct Journal {
    /// The last entry's number.
    last: u64,
    /// The records with a claim in each entry, oldest first.
    ring: VecDeque<Vec<RecordKey>>,
}

/// An entry as it is written.
#[derive(Encode)]
struct Written<'a> {
    #[n(0)]
    number: u64,
    #[n(1)]
    group: u64,
    #[n(2)]
    meta: Option<&'a Meta>,
    #[n(3)]
    claims: Vec<&'a ByteSlice>,
    #[n(4)]
    ended: Vec<u64>,
}

/// The changes of one group to the journal.
#[derive(Default)]
pub(super) struct Draft {
    claims: Vec<Claimed>,
    ended: Vec<(RecordKey, u64)>,
}

/// A claim that is to be written.
struct Claimed {
    record_key: RecordKey,
    token: u64,
    envelope: Vec<u8>,
}

/// The changes of [`Running`] once the group is durable.
#[derive(Default)]
pub(super) struct Moves {
    claims: Vec<(RecordKey, JournalClaim)>,
    gone: Vec<(RecordKey, u64)>,
}

impl Draft {
    /// Takes a claim into the journal. Returns whether it fits there.
    pub(super) fn takes(
        &mut self,
        record_key: &RecordKey,
        live: &Live,
    ) -> Result<bool, LedgerError> {
        if !matches!(live.phase, Phase::Running { .. }) || live.weight() > LARGEST_CLAIM {
            return Ok(false);
        }
        let envelope = encode(live)?;
        let small = envelope.len() <= LARGEST_CLAIM;
        if small {
            self.claims.push(Claimed {
                record_key: record_key.clone(),
                token: live.token,
                envelope,
            });
        }
        Ok(small)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.ended.is_empty()
    }

    /// Ends a claim in the journal.
    pub(super) fn end(&mut self, record_key: RecordKey, token: u64) {
        self.ended.push((record_key, token));
    }

    /// Fills entries with the claims, then with the ends: which of them are in each.
    fn pack(&self) -> Vec<(Range<usize>, Range<usize>)> {
        let (mut entries, mut claims, mut ends, mut left) = (Vec::new(), 0..0, 0..0, ROOM);
        let sizes = self
            .claims
            .iter()
            .map(|claim| (true, claim.envelope.len() + 5));
        for (is_claim, size) in sizes.chain(self.ended.iter().map(|_| (false, 9))) {
            if size > left {
                entries.push((claims.clone(), ends.clone()));
                (claims, ends, left) = (claims.end..claims.end, ends.end..ends.end, ROOM);
            }
            left -= size;
            *(if is_claim {
                &mut claims.end
            } else {
                &mut ends.end
            }) += 1;
        }
        entries.push((claims, ends));
        entries
    }
}

impl Journal {
    /// Returns the journal of these entries, in their order, and the claims that run in it.
    pub(super) fn from_entries(entries: Vec<Entry>) -> Result<(Self, Running), LedgerError> {
        let (mut journal, mut running) = (Self::default(), Running::default());
        let mut record_keys = HashMap::new();
        for entry in entries {
            let mut claimed = Vec::with_capacity(entry.claims.len());
            for claim in &entry.claims {
                let live: Live = decode(claim)?;
                let record_key = RecordKey::new(&live.id());
                record_keys.insert(live.token, record_key.clone());
                claimed.push(record_key.clone());
                running.insert(
                    record_key,
                    JournalClaim {
                        live,
                        entry: entry.number,
                    },
                );
            }
            for token in entry.ended {
                if let Some(record_key) = record_keys.get(&token) {
                    end(&mut running, record_key, token);
                }
            }
            journal.last = entry.number;
            journal.ring.push_back(claimed);
        }
        Ok((journal, running))
    }

    /// Returns the claims whose entries so many new ones will overwrite: they move to keys of their
    /// own.
    fn evicted(
        &self,
        entries: usize,
        ended: &[(RecordKey, u64)],
        running: &Running,
    ) -> Vec<(RecordKey, Live)> {
        let overwritten = (self.ring.len() + entries).saturating_sub(RING as usize);
        let first = self.last + 1 - self.ring.len() as u64;
        let claimed = self.ring.iter().take(overwritten).zip(first..);
        claimed
            .flat_map(|(record_keys, entry)| {
                record_keys
                    .iter()
                    .map(move |record_key| (record_key, entry))
            })
            .filter_map(|(record_key, entry)| {
                running
                    .get(record_key)
                    .filter(|claim| claim.entry == entry)
                    .map(|claim| (record_key, claim))
            })
            .filter(|(record_key, claim)| {
                !ended
                    .iter()
                    .any(|(ended, token)| (*token, ended) == (claim.live.token, *record_key))
            })
            .map(|(record_key, claim)| (record_key.clone(), claim.live.clone()))
            .collect()
    }

    /// Writes a group's entries, and moves the running claims that they overwrite to places of
    /// their own. `record` gives a claim of the draft as it stands, if it still has this token.
    pub(super) fn write(
        &mut self,
        draft: Draft,
        running: &Running,
        meta: &mut Meta,
        batch: &mut Batch<'_>,
        mut record: impl FnMut(&RecordKey, u64) -> Option<Live>,
    ) -> Result<Moves, LedgerError> {
        let entries = draft.pack();
        let evicted = self.evicted(entries.len(), &draft.ended, running);
        for (record_key, live) in &evicted {
            batch.put(record_key.in_kind(LIVE), live, meta)?;
        }
        let mut claims = Vec::with_capacity(draft.claims.len());
        for (index, (claimed, ended)) in entries.iter().enumerate() {
            self.last += 1;
            let written = Written {
                number: self.last,
                group: meta.group,
                meta: (index + 1 == entries.len()).then_some(&*meta),
                claims: draft.claims[claimed.clone()]
                    .iter()
                    .map(|claim| claim.envelope.as_slice().into())
                    .collect(),
                ended: draft.ended[ended.clone()]
                    .iter()
                    .map(|(_, token)| *token)
                    .collect(),
            };
            batch.insert(journal_key(self.last % RING), &written)?;
            let claimed = &draft.claims[claimed.clone()];
            self.ring.push_back(
                claimed
                    .iter()
                    .map(|claim| claim.record_key.clone())
                    .collect(),
            );
            if self.ring.len() as u64 > RING {
                self.ring.pop_front();
            }
            for Claimed {
                record_key, token, ..
            } in claimed
            {
                // A claim that was replaced within the group ended within it too.
                if let Some(live) = record(record_key, *token) {
                    claims.push((
                        record_key.clone(),
                        JournalClaim {
                            live,
                            entry: self.last,
                        },
                    ));
                }
            }
        }
        let mut gone = draft.ended;
        gone.extend(
            evicted
                .into_iter()
                .map(|(record_key, live)| (record_key, live.token)),
        );
        Ok(Moves { claims, gone })
    }
}

impl Moves {
    pub(super) fn apply(self, running: &mut Running) {
        for (record_key, claim) in self.claims {
            running.insert(record_key, claim);
        }
        for (record_key, token) in self.gone {
            end(running, &record_key, token);
        }
    }
}

fn end(running: &mut Running, record_key: &RecordKey, token: u64) {
    if running
        .get(record_key)
        .is_some_and(|claim| claim.live.token == token)
    {
        running.remove(record_key);
    }
}
