//! A way to tell people, and what it is for.

use crate::alert::Alert;

pub(super) struct Channel {
    pub(super) alert: Box<dyn Alert>,
    /// It gets what has stayed open for too long, and nothing else.
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
