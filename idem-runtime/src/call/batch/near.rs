//! Which messages may be handed over soon: those that are handed over wait for them, and for no other.

use std::sync::Arc;

use super::place::Desk;

/// Counts messages that may be handed over soon: nothing but the ledger's answer is missing.
pub(super) trait Counts {
    fn comes_near(&self);
    fn is_near_no_more(&self);
}

/// A message's place in the count.
pub(super) struct Near<'a> {
    count: &'a (dyn Counts + Send + Sync),
    is_near: bool,
}

impl<'a> Near<'a> {
    pub(super) fn of(count: &'a (dyn Counts + Send + Sync)) -> Self {
        count.comes_near();
        Self {
            count,
            is_near: true,
        }
    }

    /// Says whether the message may be handed over soon.
    pub(super) fn set(&mut self, is_near: bool) {
        match (self.is_near, is_near) {
            (false, true) => self.count.comes_near(),
            (true, false) => self.count.is_near_no_more(),
            _ => {}
        }
        self.is_near = is_near;
    }
}

impl Drop for Near<'_> {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// A message of `Batches`, before its handler was called: counts for as long as it lives.
pub(super) struct Before(Arc<dyn Desk>);

impl Before {
    pub(super) fn of(desk: &Arc<dyn Desk>) -> Self {
        desk.comes_near();
        Self(Arc::clone(desk))
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        self.0.is_near_no_more();
    }
}
