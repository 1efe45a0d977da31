//! Follows the rules: looks for letters that are due, and redrives them in the rule's name.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use idem_runtime::clock::Timestamp;
use idem_runtime::dead_letters::ActionKind;
use idem_runtime::ledger::LedgerError;
use idem_runtime::notes::ExpectedNote;
use idem_runtime::{DeadLetter, DeadLetterId, Filter, LetterState};

use super::RedriveRule;
use super::store::{Stored, stored};
use crate::duty::Duty;
use crate::service::bulk::BulkAction;
use crate::service::letters::LetterQuery;
use crate::service::{Inner, Service, ServiceError};

/// The time between two looks.
const LOOK: Duration = Duration::from_secs(10);
/// The hour of `at_most`.
const HOUR: Duration = Duration::from_secs(3600);
/// How many letters are found at once.
const PAGE: usize = 256;
/// How many letters are redriven at once.
const AT_ONCE: usize = 8;
/// How many letters of one key are read to count its tries.
const LETTERS: usize = 500;

/// When a rule looks at a letter again, and how often it was tried here: a try that was refused is
/// not in its history.
#[derive(Clone, Copy)]
struct Next {
    at: Timestamp,
    tried: u32,
}

/// A letter that is due.
struct Due {
    id: DeadLetterId,
    /// The number of the try, from 1.
    number: u32,
    tried: u32,
}

/// What each rule knows of letters, by the rule's name and the time that it was set.
type Known = HashMap<(String, Timestamp), HashMap<DeadLetterId, Next>>;

impl Inner {
    /// Follows the rules until the service ends or the Idem is closed.
    pub(in crate::service) async fn follow_rules(weak: Weak<Self>) {
        let Some(inner) = weak.upgrade() else { return };
        let (clock, duty) = (inner.idem.clock(), Duty::new(&inner.idem, "rules"));
        drop(inner);
        let mut known = Known::new();
        loop {
            let Some(inner) = weak.upgrade() else { break };
            match inner.look_at_rules(&duty, &mut known).await {
                Ok(()) => {}
                Err(error) if error.is_closed() => break,
                Err(error) => tracing::warn!(
                    error = format_args!("{error:#}"),
                    "the redrive rules could not be followed; trying again"
                ),
            }
            // The pause must not keep the Idem open.
            drop(inner);
            clock.sleep(LOOK).await;
        }
        duty.release().await;
    }

    async fn look_at_rules(
        self: &Arc<Self>,
        duty: &Duty,
        known: &mut Known,
    ) -> Result<(), ServiceError> {
        let mut rules = stored(&self.idem).await?;
        let now = self.idem.clock().now();
        rules.retain(|rule| !rule.set.rule.is_over(now));
        let name = |rule: &Stored| (rule.set.rule.name.clone(), rule.set.at);
        let names: HashSet<_> = rules.iter().map(name).collect();
        known.retain(|name, _| names.contains(name));
        if rules.is_empty() {
            return Ok(());
        }
        let Some(guard) = duty.hold().await? else {
            return Ok(());
        };
        let follow = async {
            self.wait_for_index().await?;
            for rule in rules {
                let known = known.entry(name(&rule)).or_default();
                self.follow(rule, &guard, known).await?;
            }
            Ok(())
        };
        duty.during(follow).await
    }

    /// Redrives the letters that are due by one rule.
    async fn follow(
        self: &Arc<Self>,
        mut rule: Stored,
        guard: &ExpectedNote,
        known: &mut HashMap<DeadLetterId, Next>,
    ) -> Result<(), ServiceError> {
        let now = self.idem.clock().now();
        let query = LetterQuery {
            handler: rule.set.rule.handler.clone(),
            ..LetterQuery::default()
        };
        let earlier = self.earlier_names(&query);
        let mut below = died_before(now, rule.set.rule.every);
        let mut seen = HashSet::new();
        loop {
            let found = self.index.find(&query, &earlier, Some(below), PAGE);
            let Some(last) = found.ids.last() else { break };
            below = *last;
            let mut due = Vec::new();
            for id in found.ids {
                seen.insert(id);
                if known.get(&id).is_none_or(|next| now >= next.at) {
                    due.extend(self.due(&rule.set.rule, id, now, known).await?);
                }
            }
            for some in due.chunks(AT_ONCE) {
                let Some(some) = self.take(&mut rule, guard, some).await? else {
                    return Ok(());
                };
                for Due { id, tried, .. } in some {
                    let (at, tried) = (after(now, rule.set.rule.every), tried + 1);
                    known.insert(*id, Next { at, tried });
                }
                let acts = some
                    .iter()
                    .map(|due| self.redrive_by_rule(&rule.set.rule, due));
                for result in join_all(acts).await {
                    match result {
                        Err(error) if error.is_closed() => return Err(error),
                        // The audit log has it.
                        _ => {}
                    }
                }
            }
        }
        known.retain(|id, _| seen.contains(id));
        Ok(())
    }

    /// Returns the letter if it is due.
    async fn due(
        &self,
        rule: &RedriveRule,
        id: DeadLetterId,
        now: Timestamp,
        known: &mut HashMap<DeadLetterId, Next>,
    ) -> Result<Option<Due>, ServiceError> {
        let tried = known.get(&id).map_or(0, |next| next.tried);
        let next = |at| Next { at, tried };
        let never = next(Timestamp::MAX);
        let letter = match self.idem.dead_letters().get(&id).await {
            Ok(Some(letter)) if letter.state == LetterState::Open => letter,
            Ok(letter) => {
                letter.iter().for_each(|letter| self.index.put(letter));
                return Ok(None);
            }
            // One unreadable letter does not stop the others.
            Err(LedgerError::Record { .. }) => {
                known.insert(id, never);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let too_old = |age| now >= after(letter.died_at, age);
        if !rule.takes(&letter) || rule.max_age.is_some_and(too_old) {
            known.insert(id, never);
            return Ok(None);
        }
        let last = acts_of(rule, &letter).max().unwrap_or(letter.died_at);
        let at = after(last, rule.every);
        if now < at {
            known.insert(id, next(at));
            return Ok(None);
        }
        let number = self.tries(rule, &letter, tried).await?.saturating_add(1);
        if number > rule.times {
            known.insert(id, never);
            return Ok(None);
        }
        let why_not = match rule.action {
            BulkAction::Run => self.why_not_run(&letter),
            BulkAction::Publish => self.why_not_publish(&letter),
            BulkAction::Rearm | BulkAction::Discard => None,
        };
        if why_not.is_some() {
            // It may be edited, or its handler be registered, until then.
            known.insert(id, next(after(now, rule.every)));
            return Ok(None);
        }
        Ok(Some(Due { id, number, tried }))
    }

    /// Counts how often the rule has tried the letters of this one's key. `tried` is how often it
    /// has tried this letter here.
    async fn tries(
        &self,
        rule: &RedriveRule,
        letter: &DeadLetter,
        tried: u32,
    ) -> Result<u32, LedgerError> {
        let of_key = Filter::default()
            .handler(letter.handler.as_str())
            .key(letter.key.as_str())
            .any_state()
            .limit(LETTERS);
        let letters = self.idem.dead_letters().list(&of_key).await?;
        let others = letters.iter().filter(|other| other.id != letter.id);
        let others: usize = others.map(|letter| acts_of(rule, letter).count()).sum();
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        let own = count(acts_of(rule, letter).count()).max(tried);
        Ok(count(others).saturating_add(own))
    }

    /// Counts letters in the rule's hour, as many as it still may redrive. Returns `None` if that is
    /// none, or the rule was changed, or another replica follows the rules.
    async fn take<'l>(
        &self,
        rule: &mut Stored,
        guard: &ExpectedNote,
        letters: &'l [Due],
    ) -> Result<Option<&'l [Due]>, ServiceError> {
        let (now, before) = (self.idem.clock().now(), rule.unchanged());
        let set = &mut rule.set;
        if set.redriven == 0 || now >= after(set.hour, HOUR) {
            (set.hour, set.redriven) = (now, 0);
        }
        let left = set.rule.at_most.saturating_sub(set.redriven);
        let most = letters
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(None);
        }
        set.redriven += u32::try_from(most).unwrap_or(u32::MAX);
        let changes = vec![rule.note()?];
        let expected = vec![before, guard.clone()];
        let written = self.idem.notes().write_if(changes, expected).await?;
        Ok(letters.get(..most).filter(|_| written))
    }

    async fn redrive_by_rule(
        self: &Arc<Self>,
        rule: &RedriveRule,
        Due { id, number, .. }: &Due,
    ) -> Result<(), ServiceError> {
        let service = Service {
            inner: Arc::clone(self),
        };
        let (actions, why) = (
            service.by(rule.who()),
            format!("try {number} of {}", rule.times),
        );
        let redriven = match rule.action {
            BulkAction::Run => actions.run(id, &why).await,
            BulkAction::Publish => actions.republish(id, &why).await,
            // A rule is never `discard`.
            BulkAction::Rearm | BulkAction::Discard => actions.redrive(id, &why).await,
        };
        redriven.map(drop)
    }
}

/// Returns when the rule has redriven this letter.
fn acts_of(rule: &RedriveRule, letter: &DeadLetter) -> impl Iterator<Item = Timestamp> {
    let who = rule.who();
    let by_rule = letter
        .history
        .iter()
        .filter(move |act| act.kind == ActionKind::Redriven && act.by.who.as_ref() == Some(&who));
    by_rule.map(|act| act.at)
}

fn after(from: Timestamp, time: Duration) -> Timestamp {
    from.checked_add(time).unwrap_or(Timestamp::MAX)
}

/// Returns an id that is newer than those of letters that died so long ago, and older than others:
/// an id begins with the milliseconds of its time.
fn died_before(now: Timestamp, ago: Duration) -> DeadLetterId {
    let at = now.checked_sub(ago).unwrap_or(Timestamp::MIN);
    let millis = u64::try_from(at.as_millisecond())
        .unwrap_or(0)
        .saturating_add(1);
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    DeadLetterId::from_bytes(bytes)
}
