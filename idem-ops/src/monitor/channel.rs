//! A channel of the monitor.

use super::route::Route;
use crate::alert::Alert;

pub(super) struct Channel {
    pub(super) alert: Box<dyn Alert>,
    /// It gets only letters that stay open for too long.
    pub(super) escalation: bool,
    /// The groups of letters that it gets.
    pub(super) route: Route,
}

impl Channel {
    pub(super) fn new(alert: Box<dyn Alert>, escalation: bool, route: Route) -> Self {
        Self {
            alert,
            escalation,
            route,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.alert.name()
    }
}
