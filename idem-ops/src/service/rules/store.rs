//! The rules in the notes: set by people or by a configuration, and removed.

use idem_runtime::Idem;
use idem_runtime::ledger::NoteChange;
use idem_runtime::notes::ExpectedNote;

use super::{RedriveRule, SetRule};
use crate::service::actions::{Actions, require_reason};
use crate::service::audit::AuditAction;
use crate::service::audit_log::{Draft, decoded, encoded};
use crate::service::{Inner, Service, ServiceError};

const PREFIX: &str = "rules/";
/// The most rules of one ledger.
const MOST: usize = 50;

/// A rule as it was read.
pub(super) struct Stored {
    pub(super) set: SetRule,
    value: Vec<u8>,
}

impl Stored {
    /// Returns the rule's note as it was read.
    pub(super) fn unchanged(&self) -> ExpectedNote {
        ExpectedNote::value(key(&self.set.rule.name), self.value.clone())
    }

    /// Returns the change that stores it as it is now.
    pub(super) fn note(&mut self) -> Result<NoteChange, ServiceError> {
        self.value = encoded(&key(&self.set.rule.name), &self.set)?;
        Ok(NoteChange::put(
            key(&self.set.rule.name),
            self.value.clone(),
        ))
    }
}

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// Reads the rules of a ledger, by name.
pub(super) async fn stored(idem: &Idem) -> Result<Vec<Stored>, ServiceError> {
    let mut rules = Vec::new();
    for note in idem.notes().list(PREFIX, None, MOST).await? {
        match decoded(&note.key, &note.value) {
            Ok(set) => rules.push(Stored {
                set,
                value: note.value,
            }),
            // A newer version wrote it, and follows it.
            Err(error) => tracing::warn!(%error, "a redrive rule is left out"),
        }
    }
    Ok(rules)
}

/// Puts the rules of a configuration into the ledger, and removes those that it no longer has.
/// Rules that people set under other names stay.
pub(crate) async fn configure(idem: &Idem, rules: &[RedriveRule]) -> Result<(), ServiceError> {
    let known = stored(idem).await?;
    let mut changes = Vec::new();
    for Stored { set, .. } in &known {
        let name = &set.rule.name;
        if set.who.is_none() && rules.iter().all(|rule| rule.name != *name) {
            changes.push(NoteChange::delete(key(name)));
        }
    }
    for rule in rules {
        rule.check()?;
        let is_it = |known: &Stored| known.set.who.is_none() && known.set.rule == *rule;
        if !known.iter().any(is_it) {
            changes.push(put(&new(idem, rule.clone(), None, None))?);
        }
    }
    if !changes.is_empty() {
        idem.notes().write(changes).await?;
    }
    Ok(())
}

fn new(idem: &Idem, rule: RedriveRule, who: Option<String>, why: Option<String>) -> SetRule {
    let at = idem.clock().now();
    SetRule {
        rule,
        who,
        why,
        at,
        hour: at,
        redriven: 0,
    }
}

fn put(set: &SetRule) -> Result<NoteChange, ServiceError> {
    let key = key(&set.rule.name);
    let value = encoded(&key, set)?;
    Ok(NoteChange::put(key, value))
}

impl Service {
    /// Returns the redrive rules, by name.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn rules(&self) -> Result<Vec<SetRule>, ServiceError> {
        let rules = stored(&self.inner.idem).await?;
        Ok(rules.into_iter().map(|rule| rule.set).collect())
    }
}

impl Actions {
    /// Sets a redrive rule, in place of one of its name.
    ///
    /// # Errors
    /// The rule is invalid, there are 50 already, `why` is empty or over 1 KiB, or the ledger fails.
    pub async fn set_rule(&self, rule: RedriveRule, why: &str) -> Result<SetRule, ServiceError> {
        require_reason(why)?;
        rule.check()?;
        let inner = &self.service.inner;
        let known = stored(&inner.idem).await?;
        if known.len() >= MOST && known.iter().all(|known| known.set.rule.name != rule.name) {
            let why = format!("cannot be added: there are {MOST} rules; remove one");
            return Err(ServiceError::Invalid { field: "name", why });
        }
        let by = (Some(self.who.clone()), Some(why.to_owned()));
        let set = new(&inner.idem, rule, by.0, by.1);
        let action = AuditAction::SetRule;
        self.write_rule(action, &set.rule, why, put(&set)?).await?;
        Ok(set)
    }

    /// Removes a redrive rule. One that a configuration has comes back when that is read again.
    ///
    /// # Errors
    /// The rule does not exist, `why` is empty or over 1 KiB, or the ledger fails.
    pub async fn remove_rule(&self, name: &str, why: &str) -> Result<SetRule, ServiceError> {
        require_reason(why)?;
        let known = stored(&self.service.inner.idem).await?;
        let found = known.into_iter().find(|known| known.set.rule.name == name);
        let Some(Stored { set, .. }) = found else {
            return Err(ServiceError::NoSuchRule(name.to_owned()));
        };
        let change = NoteChange::delete(key(name));
        self.write_rule(AuditAction::RemoveRule, &set.rule, why, change)
            .await?;
        Ok(set)
    }

    /// Writes a change of a rule with its entry in the audit log.
    async fn write_rule(
        &self,
        action: AuditAction,
        rule: &RedriveRule,
        why: &str,
        change: NoteChange,
    ) -> Result<(), ServiceError> {
        let draft = Draft {
            who: self.who.clone(),
            why: Some(format!("{}: {why}", rule.name)),
            handler: rule.handler.clone(),
            done: true,
            ..Draft::default()
        };
        let inner: &Inner = &self.service.inner;
        let _order = inner.audit_log.lock_order().await;
        inner
            .audit_log
            .begin_if(action, &[draft], &[], |_| Ok(vec![change.clone()]))
            .await?;
        Ok(())
    }
}
