//! What a ledger is opened with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::call::Claims;
use crate::clock::Clock;
use crate::idem::background::Background;

/// What [`IdemBuilder::open_with`](crate::IdemBuilder::open_with) gives to a ledger that it opens.
#[derive(Clone)]
#[non_exhaustive]
pub struct Context {
    /// Idem's own thread, on which the ledger does its I/O.
    pub background: Background,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The name of this instance, which no other one has: host, process, and a random part. Letters
    /// name it, and it owns claims.
    pub instance: Arc<str>,
    /// The claims whose bodies run in this process, to say that one is lost.
    pub claims: Claims,
    /// How long the opening may wait for a server that does not answer.
    pub wait: Duration,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}
