//! A channel of the monitor.

use crate::alert::Alert;

pub(super) struct Channel {
    pub(super) alert: Box<dyn Alert>,
    /// It gets only letters that stay open for too long.
    pub(super) escalation: bool,
}

impl Channel {
    pub(super) fn new(alert: Box<dyn Alert>, escalation: bool) -> Self {
        Self { alert, escalation }
    }

    pub(super) fn name(&self) -> &str {
        self.alert.name()
    }
}
